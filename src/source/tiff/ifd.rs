//! Image file directories: parses the header and directories of a file into tags and their values (TIFF 6.0 §2,
//! BigTIFF).
//!
//! A directory is read in one call; values outside it are read on demand, and long arrays block by block. Counts and
//! offsets are untrusted: nothing is allocated or read by them unchecked.

use crate::error::Error;
use crate::error::Result;
use crate::raster::Detail;
use crate::source::tiff::input::ByteOrder;
use crate::source::tiff::input::Input;
use std::borrow::Cow;
use std::sync::OnceLock;

/// One read covers a directory of up to 340 tags (BigTIFF: 204).
const FIRST_READ: u64 = 4096;

/// More tags than any writer produces.
const MAX_TAGS: u64 = 4096;

/// Bytes of an array that are read and cached at once.
const BLOCK: u64 = 4096;

/// Maximum number of cached blocks of an array (32 million eight-byte entries); entries beyond are read each time.
const MAX_BLOCKS: u64 = 65_536;

/// The number format of a file, and the offset of its first directory.
#[derive(Clone, Copy, Debug)]
pub struct Prologue {
    /// The byte order.
    pub order: ByteOrder,
    /// BigTIFF: offsets have eight bytes.
    pub big: bool,
    /// Hamamatsu NDPI beyond 4 GB: the entries of a directory are followed by an eight-byte offset and the upper
    /// halves of all values.
    pub wide: bool,
    /// Offset of the first directory.
    pub first: u64,
}

/// A tag that is in every directory of NDPI.
const NDPI: u16 = 65420;

impl Prologue {
    /// Reads the header. `Error::Missing` if the file is not a TIFF.
    pub fn read(input: &Input) -> Result<Prologue> {
        let foreign = || Error::Missing("not a TIFF image".into());
        let head = input.take(0, input.len().min(16))?;
        let order = match head.get(..2) {
            Some(b"II") => ByteOrder::Little,
            Some(b"MM") => ByteOrder::Big,
            _ => return Err(foreign()),
        };
        let number = |at: usize, width: usize| head.get(at..at + width).map(|part| order.number(part, width));
        match number(2, 2).ok_or_else(foreign)? {
            42 => {
                let plain = Prologue {
                    order,
                    big: false,
                    wide: false,
                    first: number(4, 4).ok_or_else(cut)?,
                };
                let long = number(4, 8).filter(|_| input.len() > u64::from(u32::MAX));
                let wide = long.map(|first| Prologue {
                    wide: true,
                    first,
                    ..plain
                });
                let is_ndpi = |wide: &Prologue| {
                    Ifd::read(input, *wide, wide.first).is_ok_and(|ifd| ifd.field(NDPI).is_some())
                };
                Ok(wide.filter(is_ndpi).unwrap_or(plain))
            }
            43 if number(4, 2) == Some(8) && number(6, 2) == Some(0) => Ok(Prologue {
                order,
                big: true,
                wide: false,
                first: number(8, 8).ok_or_else(cut)?,
            }),
            _ => Err(foreign()),
        }
    }
}

fn cut() -> Error {
    Error::Corrupt("the file ends in its first bytes".into())
}

/// The types of values (TIFF 6.0 p. 15, BigTIFF).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Bytes: BYTE, ASCII and UNDEFINED.
    Bytes,
    /// Unsigned integers of this many bytes: SHORT, LONG, LONG8, IFD, IFD8 (a single BYTE also reads as one).
    Unsigned(u8),
    /// Signed integers of this many bytes.
    Signed(u8),
    /// Two unsigned integers of four bytes.
    Rational,
    /// Two signed integers of four bytes.
    SignedRational,
    /// Four or eight bytes of IEEE floating point.
    Float(u8),
}

impl FieldType {
    fn of(code: u64) -> Option<FieldType> {
        Some(match code {
            1 | 2 | 7 => FieldType::Bytes,
            3 => FieldType::Unsigned(2),
            4 | 13 => FieldType::Unsigned(4),
            5 => FieldType::Rational,
            6 => FieldType::Signed(1),
            8 => FieldType::Signed(2),
            9 => FieldType::Signed(4),
            10 => FieldType::SignedRational,
            11 => FieldType::Float(4),
            12 => FieldType::Float(8),
            16 | 18 => FieldType::Unsigned(8),
            17 => FieldType::Signed(8),
            _ => return None,
        })
    }

    /// Bytes per value.
    fn width(self) -> u8 {
        match self {
            FieldType::Bytes => 1,
            FieldType::Unsigned(width) | FieldType::Signed(width) | FieldType::Float(width) => width,
            FieldType::Rational | FieldType::SignedRational => 8,
        }
    }
}

/// A tag and the location of its values. (Values stored in the directory itself have an offset as well.)
#[derive(Clone, Copy, Debug)]
pub struct Field {
    tag: u16,
    /// The type's code, as stored.
    code: u16,
    kind: FieldType,
    count: u64,
    at: u64,
    /// The upper half of a single value.
    above: u32,
}

impl Field {
    /// Bytes of all values.
    pub fn len(&self) -> u64 {
        self.count.saturating_mul(u64::from(self.kind.width()))
    }
}

/// A directory, with the bytes that were read together with it.
#[derive(Debug)]
pub struct Ifd {
    order: ByteOrder,
    fields: Vec<Field>,
    at: u64,
    bytes: Vec<u8>,
    /// Offset of the next directory in the chain; 0 at its end.
    pub next: u64,
}

impl Ifd {
    /// Reads the directory at `at`. `Error::Corrupt` if it is outside the file or has an absurd number of tags.
    pub fn read(input: &Input, prologue: Prologue, at: u64) -> Result<Ifd> {
        let Prologue { order, big, wide, .. } = prologue;
        let (head, entry, word) = if big { (8, 20, 8) } else { (2, 12, 4) };
        let beyond = || {
            Error::Corrupt(format!(
                "the directory at {at} reaches beyond the end of the file"
            ))
        };
        let left = input
            .len()
            .checked_sub(at)
            .filter(|left| *left > head)
            .ok_or_else(beyond)?;
        let mut bytes = input.take(at, left.min(FIRST_READ))?;
        let tags = order.number(&bytes, if big { 8 } else { 2 });
        if tags == 0 || tags > MAX_TAGS {
            return Err(Error::Corrupt(format!("the directory at {at} has {tags} tags")));
        }
        let end = head + tags * entry;
        if end > left {
            return Err(beyond());
        }
        // Some writers omit the last word of the last directory: it counts as 0.
        let tail = if wide { 8 + 4 * tags } else { word };
        let whole = (end + tail).min(left);
        if whole > bytes.len() as u64 {
            bytes = input.take(at, whole)?;
        }
        let mut ifd = Ifd {
            order,
            fields: Vec::new(),
            at,
            bytes,
            next: 0,
        };
        ifd.next = ifd.own_number(end, if wide { 8 } else { word });
        let fields = (0..tags).filter_map(|index| {
            let above = wide.then_some(end + 8 + 4 * index);
            ifd.parse_field(head + index * entry, word, above)
        });
        ifd.fields = fields.collect();
        Ok(ifd)
    }

    /// The entry at offset `from` of the directory, with counts and offsets of `word` bytes; `above` is the position
    /// of the upper halves of its values, in files that have them. `None` if its type is unknown.
    fn parse_field(&self, from: u64, word: u64, above: Option<u64>) -> Option<Field> {
        let code = self.own_number(from + 2, 2);
        let kind = FieldType::of(code)?;
        let above = above.map_or(0, |at| self.own_number(at, 4));
        let mut field = Field {
            tag: u16::try_from(self.own_number(from, 2)).unwrap_or(0),
            code: u16::try_from(code).unwrap_or(0),
            kind,
            count: self.own_number(from + 4, word),
            at: self.at + from + 4 + word,
            above: 0,
        };
        if field.len() > word {
            field.at = self.own_number(from + 4 + word, word) | above << 32;
        } else if field.count == 1 && kind == FieldType::Unsigned(4) {
            field.above = u32::try_from(above).unwrap_or(0);
        }
        Some(field)
    }

    /// A number in the bytes of the directory itself; 0 beyond their end.
    fn own_number(&self, from: u64, len: u64) -> u64 {
        let part = || {
            let from = usize::try_from(from).ok()?;
            self.bytes
                .get(from..from.checked_add(usize::try_from(len).ok()?)?)
        };
        part().map_or(0, |part| self.order.number(part, part.len()))
    }

    /// The byte order of the file.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// Bytes of the file: most values are near their directory and were read with it.
    fn part(&self, input: &Input, at: u64, len: u64) -> Result<Cow<'_, [u8]>> {
        let near = || {
            let from = usize::try_from(at.checked_sub(self.at)?).ok()?;
            self.bytes
                .get(from..from.checked_add(usize::try_from(len).ok()?)?)
        };
        match near() {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => input.take(at, len).map(Cow::Owned),
        }
    }

    /// The tag's field; `None` if the directory has no such tag, or one without values.
    pub fn field(&self, tag: u16) -> Option<&Field> {
        self.fields
            .iter()
            .find(|field| field.tag == tag && field.count > 0)
    }

    /// The first value as an unsigned integer. `Error::Corrupt` if it has another type or is outside the file.
    pub fn first(&self, input: &Input, tag: u16) -> Result<Option<u64>> {
        Ok(self
            .numbers(input, tag, 1)?
            .and_then(|numbers| numbers.first().copied()))
    }

    /// The first `most` values as unsigned integers. `Error::Corrupt` if they have another type or are outside the
    /// file.
    pub fn numbers(&self, input: &Input, tag: u16, most: u64) -> Result<Option<Vec<u64>>> {
        let Some(&field) = self.field(tag) else {
            return Ok(None);
        };
        let width = match field.kind {
            FieldType::Unsigned(width) => width,
            FieldType::Bytes => 1,
            _ => return Err(Error::Corrupt(format!("tag {tag} is not of an unsigned type"))),
        };
        let bytes = self.part(input, field.at, field.count.min(most) * u64::from(width))?;
        let width = usize::from(width);
        Ok(Some(
            bytes
                .chunks_exact(width)
                .map(|one| self.order.number(one, width) | u64::from(field.above) << 32)
                .collect(),
        ))
    }

    /// The first `most` values as floating point, whatever their type. `None` if there is no such tag or its values
    /// are outside the file; a zero denominator gives infinity or NaN.
    pub fn floats(&self, input: &Input, tag: u16, most: u64) -> Option<Vec<f64>> {
        let field = self.field(tag)?;
        let width = u64::from(field.kind.width());
        let bytes = self.part(input, field.at, field.count.min(most) * width).ok()?;
        Some(
            bytes
                .chunks_exact(usize::from(field.kind.width()))
                .map(|one| self.float(field.kind, one))
                .collect(),
        )
    }

    #[expect(clippy::cast_precision_loss, reason = "a float was asked for")]
    fn float(&self, kind: FieldType, bytes: &[u8]) -> f64 {
        let number = |bytes: &[u8]| self.order.number(bytes, bytes.len());
        let signed = |bytes: &[u8]| {
            let spare = 64 - 8 * bytes.len().clamp(1, 8);
            (number(bytes) << spare).cast_signed() >> spare
        };
        let halves = bytes.split_at_checked(4).unwrap_or_default();
        match kind {
            FieldType::Bytes | FieldType::Unsigned(_) => number(bytes) as f64,
            FieldType::Signed(_) => signed(bytes) as f64,
            FieldType::Rational => number(halves.0) as f64 / number(halves.1) as f64,
            FieldType::SignedRational => signed(halves.0) as f64 / signed(halves.1) as f64,
            FieldType::Float(4) => f64::from(f32::from_bits(u32::try_from(number(bytes)).unwrap_or(0))),
            FieldType::Float(_) => f64::from_bits(number(bytes)),
        }
    }

    /// The values as bytes. `None` if there is no such tag, its values take more than `most` bytes, or they are
    /// outside the file.
    pub fn bytes(&self, input: &Input, tag: u16, most: u64) -> Option<Cow<'_, [u8]>> {
        let field = self.field(tag).filter(|field| field.len() <= most)?;
        self.part(input, field.at, field.len()).ok()
    }

    /// The first `most` values as bytes; `None` if there is no such tag or they are outside the file.
    pub fn start(&self, input: &Input, tag: u16, most: u64) -> Option<Cow<'_, [u8]>> {
        let field = self.field(tag)?;
        self.part(input, field.at, field.len().min(most)).ok()
    }

    /// All entries that `wanted` accepts, of at most `most` bytes each and in total, in the order of the directory.
    pub fn details(&self, input: &Input, most: usize, wanted: impl Fn(u16) -> bool) -> Vec<Detail> {
        let mut left = most;
        let fields = self
            .fields
            .iter()
            .filter(|field| wanted(field.tag) && field.count > 0);
        let details = fields.filter_map(|field| {
            let mut value = self.bytes(input, field.tag, left as u64)?.into_owned();
            let number = match field.kind {
                FieldType::Rational | FieldType::SignedRational => 4,
                kind => kind.width(),
            };
            if self.order == ByteOrder::Big {
                value.chunks_mut(number.into()).for_each(<[u8]>::reverse);
            }
            left -= value.len();
            Some(Detail {
                tag: field.tag,
                kind: field.code,
                count: u32::try_from(field.count).ok()?,
                value,
            })
        });
        details.collect()
    }

    /// The values as an array that is read on demand. `Error::Corrupt` if they are not unsigned integers.
    pub fn array(&self, tag: u16) -> Result<Option<Array>> {
        let Some(field) = self.field(tag) else {
            return Ok(None);
        };
        let FieldType::Unsigned(width) = field.kind else {
            return Err(Error::Corrupt(format!("tag {tag} is not of an unsigned type")));
        };
        Ok(Some(Array {
            order: self.order,
            at: field.at,
            count: field.count,
            width,
            above: field.above,
            blocks: OnceLock::new(),
        }))
    }
}

/// A long array of unsigned integers, of which only requested blocks are in memory.
#[derive(Debug)]
pub struct Array {
    order: ByteOrder,
    at: u64,
    count: u64,
    width: u8,
    above: u32,
    blocks: OnceLock<Box<[ArrayBlock]>>,
}

/// A block of an array, once it is read.
type ArrayBlock = OnceLock<Box<[u8]>>;

impl Array {
    /// The number of entries.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// One entry. `Error::Corrupt` if the array does not have it or the file ends before it.
    pub fn entry(&self, input: &Input, index: u64) -> Result<u64> {
        let outside = || Error::Corrupt(format!("entry {index} of an array of {}", self.count));
        let width = usize::from(self.width);
        if index >= self.count {
            return Err(outside());
        }
        let from = index.checked_mul(u64::from(self.width)).ok_or_else(outside)?;
        let (block, within) = (from / BLOCK, usize::try_from(from % BLOCK).unwrap_or(0));
        let number = |bytes: &[u8]| {
            let entry = bytes.get(within..within + width).ok_or_else(outside)?;
            Ok(self.order.number(entry, width) | u64::from(self.above) << 32)
        };
        let Some(kept) = usize::try_from(block)
            .ok()
            .and_then(|block| self.blocks(input).get(block))
        else {
            return number(&self.read(input, block)?);
        };
        if let Some(bytes) = kept.get() {
            return number(bytes);
        }
        // Two threads may read the same block; the second copy is dropped, and neither thread waits.
        let bytes = self.read(input, block)?;
        number(kept.get_or_init(|| bytes.into()))
    }

    /// The bytes that must be read for this entry, if it was not requested before: offset and length.
    pub fn unread(&self, input: &Input, index: u64) -> Option<(u64, u64)> {
        let block = index.checked_mul(u64::from(self.width))? / BLOCK;
        let kept = self.blocks(input).get(usize::try_from(block).ok()?);
        if index >= self.count || kept.is_some_and(|kept| kept.get().is_some()) {
            return None;
        }
        Some(self.place(input, block))
    }

    fn blocks(&self, input: &Input) -> &[ArrayBlock] {
        self.blocks.get_or_init(|| {
            let bytes = self.count.saturating_mul(u64::from(self.width));
            let bytes = bytes.min(input.len().saturating_sub(self.at));
            let blocks = bytes.div_ceil(BLOCK).min(MAX_BLOCKS);
            (0..blocks).map(|_| OnceLock::new()).collect()
        })
    }

    /// The bytes of a block, clipped to the array and the file: offset and length.
    fn place(&self, input: &Input, block: u64) -> (u64, u64) {
        let from = block.saturating_mul(BLOCK);
        let bytes = self.count.saturating_mul(u64::from(self.width));
        let at = self.at.saturating_add(from);
        let len = bytes
            .saturating_sub(from)
            .min(BLOCK)
            .min(input.len().saturating_sub(at));
        (at, len)
    }

    fn read(&self, input: &Input, block: u64) -> Result<Vec<u8>> {
        let (at, len) = self.place(input, block);
        input.take(at, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tiff::build::Build;
    use crate::source::tiff::build::FieldEntry;
    use crate::source::tiff::build::Temp;

    fn ifd(order: ByteOrder, big: bool, tags: &[FieldEntry]) -> (Input, Ifd) {
        let mut build = Build::new(order, big);
        let first = build.ifd(tags, 99);
        let file = Temp::new(&build.finish(first));
        let input = file.input();
        let prologue = Prologue::read(&input).unwrap();
        let ifd = Ifd::read(&input, prologue, prologue.first).unwrap();
        (input, ifd)
    }

    #[test]
    fn ndpi_beyond_four_gigabytes_has_upper_halves_after_its_directories() {
        let base = 5u64 << 30;
        let low = |value: u64| (value & 0xffff_ffff) as u32;
        let file_with = |first: u16| {
            let mut directory = 3u16.to_le_bytes().to_vec();
            let values = [
                (first, 4u16, 1u32, 1u32),
                (273, 4, 1, low(base + 7)),
                (258, 3, 3, low(base + 200)),
            ];
            for (tag, code, count, value) in values {
                directory.extend([tag.to_le_bytes(), code.to_le_bytes()].concat());
                directory.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
            }
            directory.extend((base + 1000).to_le_bytes());
            directory.extend([0u32, 1, 1].map(u32::to_le_bytes).concat());
            directory.resize(200, 0);
            directory.extend([8u16, 9, 10].map(u16::to_le_bytes).concat());
            let file = Temp::new(&[b"II*\0", &base.to_le_bytes()[..]].concat());
            let mut open = std::fs::File::options().write(true).open(file.path()).unwrap();
            std::io::Seek::seek(&mut open, std::io::SeekFrom::Start(base)).unwrap();
            std::io::Write::write_all(&mut open, &directory).unwrap();
            let input = file.input();
            let prologue = Prologue::read(&input).unwrap();
            (prologue, input)
        };
        let (prologue, input) = file_with(NDPI);
        assert_eq!((prologue.wide, prologue.first), (true, base));
        let ifd = Ifd::read(&input, prologue, base).unwrap();
        assert_eq!(ifd.next, base + 1000);
        assert_eq!(ifd.first(&input, NDPI).unwrap(), Some(1));
        assert_eq!(ifd.first(&input, 273).unwrap(), Some(base + 7));
        assert_eq!(
            ifd.array(273).unwrap().unwrap().entry(&input, 0).unwrap(),
            base + 7
        );
        assert_eq!(ifd.numbers(&input, 258, 9).unwrap(), Some(vec![8, 9, 10]));
        // in other files, four bytes give the offset of the directory
        let (prologue, _) = file_with(256);
        assert_eq!((prologue.wide, prologue.first), (false, u64::from(low(base))));
    }

    #[test]
    fn values_of_every_type_are_read_in_both_orders_and_both_sizes() {
        for (order, big) in [
            (ByteOrder::Little, false),
            (ByteOrder::Big, false),
            (ByteOrder::Little, true),
            (ByteOrder::Big, true),
        ] {
            let (input, ifd) = ifd(
                order,
                big,
                &[
                    (1, 3, vec![7]),
                    (2, 4, vec![1, 2, 70_000]),
                    (3, 5, vec![3 << 32 | 2]),
                    (4, 9, vec![0xffff_ffff]),
                    (5, 12, vec![2.5f64.to_bits()]),
                    (6, 11, vec![f32::to_bits(-0.5).into()]),
                    (7, 2, vec![b'a'.into(), 0]),
                    (8, 10, vec![0xffff_fffe << 32 | 4]),
                    (9, 99, vec![1]),
                    (10, 16, vec![1 << 40]),
                ],
            );
            assert_eq!(ifd.next, 99);
            assert_eq!(ifd.first(&input, 1).unwrap(), Some(7));
            assert_eq!(ifd.numbers(&input, 2, 9).unwrap(), Some(vec![1, 2, 70_000]));
            assert_eq!(ifd.numbers(&input, 2, 2).unwrap(), Some(vec![1, 2]));
            assert_eq!(ifd.floats(&input, 3, 1), Some(vec![1.5]));
            assert_eq!(ifd.floats(&input, 4, 1), Some(vec![-1.0]));
            assert_eq!(ifd.floats(&input, 5, 1), Some(vec![2.5]));
            assert_eq!(ifd.floats(&input, 6, 1), Some(vec![-0.5]));
            assert_eq!(ifd.bytes(&input, 7, 2).as_deref(), Some(&b"a\0"[..]));
            assert_eq!(ifd.bytes(&input, 7, 1), None);
            assert_eq!(ifd.floats(&input, 8, 1), Some(vec![-0.5]));
            assert!(ifd.first(&input, 8).is_err());
            assert_eq!(ifd.first(&input, 9).unwrap(), None);
            assert_eq!(ifd.first(&input, 10).unwrap(), Some(1 << 40));
        }
    }

    #[test]
    fn a_file_of_another_format_is_missing_and_half_a_tiff_is_corrupt() {
        let read = |bytes: &[u8]| Prologue::read(&Temp::new(bytes).input());
        assert!(matches!(read(b""), Err(Error::Missing(_))));
        assert!(matches!(read(b"II"), Err(Error::Missing(_))));
        assert!(matches!(read(b"<html></html>"), Err(Error::Missing(_))));
        assert!(matches!(read(b"II*\0\x08\0"), Err(Error::Corrupt(_))));
        assert!(matches!(read(b"MM\0\x2b\0\x08\0\0"), Err(Error::Corrupt(_))));
        assert!(matches!(
            read(b"MM\0\x2b\0\x04\0\0\0\0\0\0\0\0\0\0"),
            Err(Error::Missing(_))
        ));
    }

    #[test]
    fn a_directory_beyond_the_end_or_of_absurd_length_is_corrupt() {
        let file = Temp::new(&[b"II*\0\x08\0\0\0".as_slice(), &[0xff; 100]].concat());
        let input = file.input();
        let prologue = Prologue::read(&input).unwrap();
        for at in [8, 106, 107, 108, 1 << 40, u64::MAX] {
            assert!(
                matches!(Ifd::read(&input, prologue, at), Err(Error::Corrupt(_))),
                "{at}"
            );
        }
        let file = Temp::new(b"II*\0\x08\0\0\0\0\0\0\0\0\0");
        assert!(matches!(
            Ifd::read(&file.input(), prologue, 8),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn the_last_word_of_the_last_directory_may_be_missing() {
        let mut build = Build::new(ByteOrder::Little, false);
        let first = build.ifd(&[(256, 3, vec![5])], 0);
        let mut bytes = build.finish(first);
        bytes.truncate(bytes.len() - 4);
        let input = Temp::new(&bytes).input();
        let ifd = Ifd::read(&input, Prologue::read(&input).unwrap(), first).unwrap();
        assert_eq!((ifd.first(&input, 256).unwrap(), ifd.next), (Some(5), 0));
    }

    #[test]
    fn values_beyond_the_end_are_errors_or_absent() {
        let mut build = Build::new(ByteOrder::Little, false);
        let first = build.ifd(
            &[(256, 4, vec![1, 2, 3]), (270, 2, vec![65; 9]), (282, 5, vec![1])],
            0,
        );
        let mut bytes = build.finish(first);
        let from = usize::try_from(first).unwrap() + 2;
        for tag in 0..3 {
            bytes[from + tag * 12 + 8..][..4].copy_from_slice(&[0xf0; 4]);
        }
        let input = Temp::new(&bytes).input();
        let ifd = Ifd::read(&input, Prologue::read(&input).unwrap(), first).unwrap();
        assert!(matches!(ifd.numbers(&input, 256, 3), Err(Error::Corrupt(_))));
        assert_eq!(ifd.bytes(&input, 270, 100), None);
        assert_eq!(ifd.floats(&input, 282, 1), None);
    }

    #[test]
    fn only_requested_blocks_of_a_million_entries_are_in_memory() {
        let (input, ifd) = ifd(
            ByteOrder::Big,
            true,
            &[(324, 16, (0..1_000_000).map(|i| i * 3).collect())],
        );
        let array = ifd.array(324).unwrap().unwrap();
        let kept = |array: &Array| {
            array
                .blocks(&input)
                .iter()
                .filter(|block| block.get().is_some())
                .count()
        };
        assert_eq!(kept(&array), 0);
        for index in [0, 1, 511, 512, 999_999] {
            assert_eq!(array.entry(&input, index).unwrap(), index * 3);
        }
        assert_eq!(kept(&array), 3);
        assert!(matches!(array.entry(&input, 1_000_000), Err(Error::Corrupt(_))));
        assert!(matches!(array.entry(&input, u64::MAX), Err(Error::Corrupt(_))));
    }

    #[test]
    fn an_array_that_claims_more_than_the_file_takes_no_memory_for_it() {
        let (input, _) = ifd(ByteOrder::Little, false, &[(256, 3, vec![1])]);
        let array = Array {
            order: ByteOrder::Little,
            at: 16,
            count: u64::MAX,
            above: 0,
            width: 8,
            blocks: OnceLock::new(),
        };
        assert!(array.entry(&input, 0).is_ok());
        assert_eq!(array.blocks(&input).len(), 1);
        for index in [100, 1 << 20, 1 << 40, u64::MAX - 1] {
            assert!(matches!(array.entry(&input, index), Err(Error::Corrupt(_))));
        }
    }
}
