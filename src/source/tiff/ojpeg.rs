//! Old-style JPEG (TIFF 6.0 §22): assembles whole streams from the tables, the frame and the data of a block.
//!
//! The tables come from the interchange stream, if the file has one, otherwise from tags. Every block starts anew, as
//! writers do it; a block that is a complete stream is used unchanged.

use crate::codec::jpeg::stream::EOI;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::codec::jpeg::stream::SOI;
use crate::codec::jpeg::stream::SOS;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::input::Input;
use memchr::memmem;

const DHT: u8 = 0xc4;
const DQT: u8 = 0xdb;
const DRI: u8 = 0xdd;

/// The EOI marker of an interchange stream must be within its last bytes.
const TAIL: u64 = 64;

/// Maximum number of bytes before the first scan.
const MAX_HEAD: u64 = 1 << 16;

/// The part of the stream that all blocks share.
#[derive(Clone, Debug)]
pub struct OldJpeg {
    /// DQT, DHT and DRI segments.
    tables: Vec<u8>,
    /// Number, sampling factors and table of every component, as in a frame header.
    components: Vec<u8>,
    /// A scan header.
    scan: Vec<u8>,
    /// Offset and length of the interchange stream, if it is the whole picture: whatever offset the tags give for its
    /// only block.
    pub whole: Option<(u64, u64)>,
}

impl OldJpeg {
    /// Reads a directory of an image of `channels` channels. `Error::Corrupt` if there are no tables or they are
    /// outside the file.
    pub fn of(ifd: &Ifd, input: &Input, channels: usize) -> Result<OldJpeg> {
        let process = ifd.first(input, 512)?.unwrap_or(1);
        if process != 1 {
            return Err(Error::Unsupported(format!(
                "JPEG of the old style by process {process} is not supported"
            )));
        }
        let mut old = OldJpeg {
            tables: Vec::new(),
            components: components(ifd, input, channels)?,
            scan: Vec::new(),
            whole: None,
        };
        if let Some(at) = ifd.first(input, 513)?.filter(|at| *at > 0) {
            let len = input.len().saturating_sub(at).min(MAX_HEAD);
            let head = input.take(at, len)?;
            old.take(&head);
            old.whole = whole(ifd, input, at, &head)?;
        }
        if old.tables.is_empty() {
            old.tables = tables(ifd, input, channels)?;
            // One table of each kind for every component.
            old.scan = scan(channels, |index| index);
        }
        if old.scan.is_empty() {
            old.scan = scan(channels, |index| index.min(1));
        }
        if let Some(interval) = ifd
            .first(input, 515)?
            .and_then(|n| u16::try_from(n).ok())
            .filter(|n| *n > 0)
        {
            old.tables.extend([0xff, DRI, 0, 4]);
            old.tables.extend(interval.to_be_bytes());
        }
        Ok(old)
    }

    /// Takes the tables of an interchange stream before its first scan; damaged ones are ignored.
    fn take(&mut self, stream: &[u8]) {
        for segment in MarkerSegments::of(stream)
            .into_iter()
            .flatten()
            .map_while(Result::ok)
        {
            match segment.marker {
                DQT | DHT | DRI => self.tables.extend_from_slice(segment.whole),
                0xc0..=0xc2 => {
                    if let Some(components) = segment
                        .payload
                        .get(5..)
                        .filter(|list| list.len() == self.components.len())
                    {
                        self.components = components.to_vec();
                    }
                }
                SOS => self.scan = segment.whole.to_vec(),
                _ => {}
            }
        }
    }

    /// A stream for a block of `size` with the entropy-coded `data`.
    pub fn stream(&self, data: &[u8], size: Size) -> Vec<u8> {
        if data.starts_with(&[0xff, SOI]) {
            return data.to_vec();
        }
        let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX).to_be_bytes();
        let mut out = vec![0xff, SOI];
        out.extend_from_slice(&self.tables);
        out.extend([0xff, 0xc0]);
        out.extend(
            u16::try_from(self.components.len() + 7)
                .unwrap_or(0)
                .to_be_bytes(),
        );
        out.push(8);
        out.extend(side(size.h));
        out.extend(side(size.w));
        out.extend_from_slice(&self.components);
        // The first block, or every block, may include its scan header.
        if !data.starts_with(&[0xff, SOS]) {
            out.extend_from_slice(&self.scan);
        }
        out.extend_from_slice(data);
        out.extend([0xff, EOI]);
        out
    }
}

/// The interchange stream at `at`, if it holds the whole picture of a single strip: its frame has the picture's size,
/// and it has an EOI marker. Some writers then set StripOffsets to the middle of it.
fn whole(ifd: &Ifd, input: &Input, at: u64, head: &[u8]) -> Result<Option<(u64, u64)>> {
    let (Some(len), Some(w), Some(h)) = (
        ifd.first(input, 514)?,
        ifd.first(input, 256)?,
        ifd.first(input, 257)?,
    ) else {
        return Ok(None);
    };
    let strips = ifd.array(273)?.map_or(0, |strips| strips.len());
    if strips != 1 || !input.holds(at, len) {
        return Ok(None);
    }
    let frame = (MarkerSegments::of(head)
        .into_iter()
        .flatten()
        .map_while(Result::ok))
    .find(|segment| matches!(segment.marker, 0xc0..=0xc2))
    .and_then(|segment| segment.payload.get(1..5).map(<[u8]>::to_vec));
    let side = |side: u64| u16::try_from(side).ok().map(u16::to_be_bytes);
    let fits = side(h).zip(side(w)).map(|(h, w)| [h, w].concat()) == frame && frame.is_some();
    let tail = len.min(TAIL);
    let ended = memmem::rfind(&input.take(at + len - tail, tail)?, &[0xff, EOI]).is_some();
    Ok((fits && ended).then_some((at, len)))
}

/// The components of a frame header, from YCbCrSubSampling (default 2, 2).
fn components(ifd: &Ifd, input: &Input, channels: usize) -> Result<Vec<u8>> {
    let block = ifd.numbers(input, 530, 2)?.unwrap_or_else(|| vec![2, 2]);
    let first = match *block {
        [w @ 1..=4, h @ 1..=4] if channels == 3 => w << 4 | h,
        _ => 0x11,
    };
    let count = u8::try_from(channels).unwrap_or(u8::MAX);
    let one = |index: u8| {
        let factors = if index == 0 { first.to_le_bytes()[0] } else { 0x11 };
        [index + 1, factors, index.min(3)]
    };
    Ok([count].into_iter().chain((0..count).flat_map(one)).collect())
}

/// A scan header whose components use the tables given by `table`.
fn scan(channels: usize, table: impl Fn(u8) -> u8) -> Vec<u8> {
    let count = u8::try_from(channels).unwrap_or(u8::MAX);
    let mut out = vec![0xff, SOS, 0, 6 + 2 * count, count];
    for index in 0..count {
        out.extend([index + 1, table(index) << 4 | table(index)]);
    }
    out.extend([0, 63, 0]);
    out
}

/// DQT and DHT segments for the tables of JPEGQTables, JPEGDCTables and JPEGACTables, one for each component.
fn tables(ifd: &Ifd, input: &Input, channels: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut segment = |marker: u8, name: u8, table: &[u8]| {
        out.extend([0xff, marker]);
        out.extend(u16::try_from(table.len() + 3).unwrap_or(0).to_be_bytes());
        out.push(name);
        out.extend_from_slice(table);
    };
    for (tag, class) in [(519, None), (520, Some(0)), (521, Some(0x10))] {
        let places = ifd.numbers(input, tag, channels as u64)?.unwrap_or_default();
        if places.len() < channels {
            return Err(Error::Corrupt("JPEG of the old style without its tables".into()));
        }
        for (index, at) in (0u8..).zip(places) {
            let Some(class) = class else {
                segment(DQT, index, &input.take(at, 64)?);
                continue;
            };
            let counts = input.take(at, 16)?;
            let values: u64 = counts.iter().map(|count| u64::from(*count)).sum();
            segment(DHT, class | index, &input.take(at, 16 + values)?);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::jpeg;
    use crate::raster::Layout;
    use crate::raster::Samples;
    use crate::source::tiff::build::FieldEntry;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::build::single;
    use crate::source::tiff::ifd::Prologue;

    const SIZE: Size = Size::new(16, 16);

    fn slope() -> Vec<u8> {
        (0..256u32).map(|i| (i % 16 * 8 + i / 16 * 6) as u8).collect()
    }

    /// The stream of a grey picture: the offsets of its tables, and the start and end of its scan header.
    fn grey() -> (Vec<u8>, [Vec<u64>; 3], usize, usize) {
        let stream = jpeg::encode(&slope(), SIZE, Layout::Grey, 90, jpeg::JpegStyle::default()).unwrap();
        let (mut places, mut scan) = ([vec![], vec![], vec![]], (0, 0));
        for segment in MarkerSegments::of(&stream).unwrap() {
            let segment = segment.unwrap();
            let end = stream.len() - segment.rest.len();
            let start = end - segment.payload.len();
            match segment.marker {
                DQT => places[0].push(start as u64 + 1),
                DHT if segment.payload[0] & 0xf == 0 => {
                    places[1 + usize::from(segment.payload[0] >> 4)].push(start as u64 + 1)
                }
                SOS => scan = (start - 4, end),
                _ => {}
            }
        }
        (stream, places, scan.0, scan.1)
    }

    fn old(stream: &[u8], tags: impl Fn(u64) -> Vec<FieldEntry>) -> Result<OldJpeg> {
        let file = Temp::new(&single(stream, |at| {
            [vec![(256, 3, vec![16])], tags(at)].concat()
        }));
        let input = file.input();
        let prologue = Prologue::read(&input)?;
        OldJpeg::of(&Ifd::read(&input, prologue, prologue.first)?, &input, 1)
    }

    fn samples(stream: &[u8]) -> Samples {
        let merged = jpeg::merge(None, stream, jpeg::StreamColour::Grey).unwrap();
        jpeg::decode(&merged, SIZE).unwrap().samples
    }

    #[test]
    fn tables_from_a_stream_or_from_tags_give_the_same_picture() {
        let (stream, places, head, data) = grey();
        let wanted = samples(&stream);
        let end = stream.len() - 2;
        let from_stream = old(&stream, |at| vec![(513, 4, vec![at])]).unwrap();
        let from_tags = old(&stream, |at| {
            let tag = |tag, places: &[u64]| (tag, 4, vec![places[0] + at]);
            vec![tag(519, &places[0]), tag(520, &places[1]), tag(521, &places[2])]
        })
        .unwrap();
        for old in [&from_stream, &from_tags] {
            assert_eq!(samples(&old.stream(&stream[data..end], SIZE)), wanted);
            assert_eq!(samples(&old.stream(&stream, SIZE)), wanted, "a stream of its own");
        }
        // A scan header names the components as the stream's frame does.
        let with_header = from_stream.stream(&stream[head..end], SIZE);
        assert_eq!(samples(&with_header), wanted);
    }

    #[test]
    fn errors_name_what_is_missing() {
        assert!(matches!(old(&[], |_| vec![]), Err(Error::Corrupt(_))));
        assert!(matches!(
            old(&[], |_| vec![(519, 4, vec![1 << 30])]),
            Err(Error::Corrupt(_))
        ));
        assert!(matches!(
            old(&[], |_| vec![(512, 3, vec![14])]),
            Err(Error::Unsupported(_))
        ));
        assert!(matches!(
            old(b"no stream", |at| vec![(513, 4, vec![at])]),
            Err(Error::Corrupt(_))
        ));
    }
}
