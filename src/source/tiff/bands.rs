//! Decodes strips that are too large for memory from top to bottom, some rows at a time.
//!
//! Supports the schemes that can be decoded incrementally.

use crate::codec::ccitt;
use crate::codec::deflate;
use crate::codec::lzma;
use crate::codec::lzw;
use crate::codec::packbits;
use crate::codec::pull::fill;
use crate::codec::zstd;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::source::tiff::Limits;
use crate::source::tiff::compression::Compression;
use crate::source::tiff::each_plane;
use crate::source::tiff::image::Image;
use crate::source::tiff::input::Input;
use crate::source::tiff::layout::BlockLayout;
use crate::source::tiff::unpack::absent;
use crate::source::tiff::unpack::unpack;
use std::cell::RefCell;
use std::io;
use std::io::BufReader;
use std::io::ErrorKind;
use std::io::Read;

/// Bytes that are read from a file at once.
const STEP: usize = 64 << 10;

/// Passes all rows of a picture in strips to `take`, band by band with their positions; each strip is decoded once.
pub fn read(
    image: &Image,
    input: &Input,
    limits: &Limits,
    take: &mut dyn FnMut(Raster, Rect) -> Result<()>,
) -> Result<()> {
    let band = image.band(limits);
    let planes = if image.layout.separate {
        image.layout.stored
    } else {
        1
    };
    let channels = u8::try_from(image.layout.channels()).unwrap_or(u8::MAX);
    for strip in 0..image.size.grid(image.tile).h {
        let cell = image.cell(strip);
        let top = strip.saturating_mul(image.tile.h);
        let streams = (0..planes).map(|plane| {
            let place = image.place(input, 0, strip, plane)?;
            let open = |(at, len)| StripDecoder::open(image, input, (at, len), limits).map(RefCell::new);
            place.map(open).transpose()
        });
        let streams: Vec<Option<RefCell<StripDecoder>>> = streams.collect::<Result<_>>()?;
        let plain = RefCell::default();
        for y in (0..cell.h).step_by(band.h.max(1) as usize) {
            let size = Size::new(cell.w, band.h.min(cell.h - y));
            let samples = each_plane(&image.layout, |layout, plane| match streams.get(plane) {
                Some(Some(stream)) => stream.borrow_mut().rows(layout, size, &mut plain.borrow_mut()),
                _ => Ok(absent(layout, size)),
            })?;
            let raster = Raster {
                size,
                channels,
                samples,
            };
            take(raster, Rect::new(0, top.saturating_add(y), size.w, size.h))?;
        }
    }
    Ok(())
}

/// A decoder of a strip, or of one plane of it.
enum StripDecoder<'a> {
    Bytes(Box<dyn Read + 'a>),
    Fax(ccitt::RowDecoder<Vec<u8>>),
}

impl<'a> StripDecoder<'a> {
    /// Starts at the `len` coded bytes at `at`. `Error::Limit` for facsimile with more bytes than the limit of a
    /// tile.
    fn open(
        image: &Image,
        input: &'a Input,
        (at, len): (u64, u64),
        limits: &Limits,
    ) -> Result<StripDecoder<'a>> {
        let (layout, width) = (&image.layout, image.size.w);
        if let Compression::Ccitt(coding) = layout.compression {
            if len > limits.tile_bytes {
                return Err(Error::Limit(format!(
                    "a strip is coded in {len} bytes, more than the {} of LIMIT_TILE_BYTES",
                    limits.tile_bytes
                )));
            }
            let mut coded = input.take(at, len)?;
            if layout.reversed {
                coded.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
            }
            return Ok(StripDecoder::Fax(ccitt::RowDecoder::new(coded, coding, width)));
        }
        let coded = CodedStrip {
            input,
            at,
            left: len,
            reversed: layout.reversed,
        };
        let coded = BufReader::with_capacity(STEP, coded);
        Ok(StripDecoder::Bytes(match layout.compression {
            Compression::PackBits => Box::new(packbits::reader(coded)),
            Compression::Lzw => Box::new(lzw::reader(coded).map_err(failed)?),
            Compression::Deflate => Box::new(deflate::reader(coded)),
            Compression::Lzma => Box::new(lzma::reader(coded)),
            Compression::Zstd => Box::new(zstd::reader(coded).map_err(failed)?),
            Compression::None => Box::new(coded),
            other => return Err(Error::Internal(format!("{other:?} has no reader of rows"))),
        }))
    }

    /// The samples of the next rows. `Error::Corrupt` if there are fewer.
    fn rows(&mut self, layout: &BlockLayout, size: Size, plain: &mut Vec<u8>) -> Result<Samples> {
        plain.clear();
        plain.resize(usize::try_from(layout.bytes(size)).unwrap_or(0), 0);
        let mut got = plain.len();
        match self {
            StripDecoder::Bytes(stream) => got = fill(stream, plain).map_err(failed)?,
            StripDecoder::Fax(stream) => {
                let line = usize::try_from(layout.line(size.w)).unwrap_or(0);
                for row in plain.chunks_exact_mut(line.max(1)) {
                    stream.row(row)?;
                }
            }
        }
        unpack(layout, plain.get_mut(..got).unwrap_or_default(), size.w, size)
    }
}

/// Maps an I/O error to a failure of the system or to damage of the file.
fn failed(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) => Error::Io(error),
        None => Error::Corrupt("a strip is damaged".into()),
    }
}

/// The coded bytes of a strip.
struct CodedStrip<'a> {
    input: &'a Input,
    at: u64,
    left: u64,
    reversed: bool,
}

impl Read for CodedStrip<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let part = out.get_mut(..len).unwrap_or_default();
        match self.input.fill(self.at, part) {
            Ok(()) => {}
            Err(Error::Io(error)) => return Err(error),
            Err(_) => return Err(ErrorKind::InvalidData.into()),
        }
        if self.reversed {
            part.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
        }
        self.at += len as u64;
        self.left -= len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::lzw as coder;
    use crate::source::Source;
    use crate::source::Window;
    use crate::source::cache::NoCache;
    use crate::source::tiff::Tiff;
    use crate::source::tiff::build::Build;
    use crate::source::tiff::build::FieldEntry;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::build::tags;
    use crate::source::tiff::build::with;
    use crate::source::tiff::input::ByteOrder;
    use crate::source::window::blank;
    use crate::source::window::put;
    use crate::source::window::raster;

    const SIZE: (u64, u64) = (300, 250);

    /// A file in strips of 200 rows, coded by `code`, with `line` bytes per row.
    fn file(line: usize, planes: usize, code: impl Fn(&[u8]) -> Vec<u8>, more: &[FieldEntry]) -> Vec<u8> {
        let mut build = Build::new(ByteOrder::Little, false);
        let (mut offsets, mut counts) = (Vec::new(), Vec::new());
        for plane in 0..planes {
            let all: Vec<u8> = (0..line * 250)
                .map(|i| (i / line * 3 + i % line / 4 + i * i % 7 + plane * 50) as u8)
                .collect();
            for strip in [&all[..line * 200], &all[line * 200..]] {
                let coded = code(strip);
                offsets.push(build.blob(&coded));
                counts.push(coded.len() as u64);
            }
        }
        let mut tags = with(tags(SIZE, 1, 1, vec![]), more);
        tags.retain(|(tag, ..)| !(322..=325).contains(tag));
        tags.extend([(273, 4, offsets), (278, 4, vec![200]), (279, 4, counts)]);
        let first = build.ifd(&tags, 0);
        build.finish(first)
    }

    /// Reads the picture in memory, and from top to bottom within a limit that no strip fits.
    fn both(bytes: &[u8]) -> (Raster, Result<Raster>) {
        let temp = Temp::new(bytes);
        let whole = Tiff::open(temp.open(), &Limits::default()).unwrap();
        let rect = Rect::of(whole.header().size());
        let wanted = raster(&whole, Window::new(0, rect), &NoCache).unwrap();
        let limits = Limits {
            tile_bytes: wanted.samples.bytes() as u64 / 4,
            ..Limits::default()
        };
        let tiff = Tiff::open(temp.open(), &limits).unwrap();
        assert!(matches!(
            raster(&tiff, Window::new(0, Rect::new(0, 0, 1, 1)), &NoCache),
            Err(Error::Limit(_))
        ));
        let mut got: Option<Raster> = None;
        let mut next = 0;
        let read = tiff.read(Window::new(0, rect), &NoCache, &mut |piece, at| {
            let raster = piece.raster(at.size());
            assert_eq!((at.x, at.y), (0, next), "from top to bottom");
            assert!(raster.samples.bytes() as u64 <= limits.tile_bytes);
            next = at.y + at.h;
            let all = got.get_or_insert_with(|| blank(rect.size(), &raster).unwrap());
            put(&raster, at, all, rect)
        });
        (wanted, read.map(|()| got.unwrap()))
    }

    /// PackBits: literal runs, and a run of one byte.
    fn packed(bytes: &[u8]) -> Vec<u8> {
        let runs = bytes.chunks(100).flat_map(|run| match run {
            [first, rest @ ..] if rest.iter().all(|byte| byte == first) => {
                vec![(1 - run.len() as i32) as u8, *first]
            }
            _ => [&[run.len() as u8 - 1], run].concat(),
        });
        runs.collect()
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6)
    }

    #[test]
    fn reading_from_top_to_bottom_equals_reading_at_once() {
        type Code = fn(&[u8]) -> Vec<u8>;
        let lzw: Code = |bytes| coder::encode(bytes).unwrap();
        let zstd: Code = |bytes| zstd::encode(bytes, 3).unwrap();
        let codes: [(u64, Code); 4] = [(32773, packed), (5, lzw), (8, deflated), (50000, zstd)];
        let rgb16 = [(258, 3, vec![16; 3]), (262, 3, vec![2]), (277, 3, vec![3])];
        for (compression, code) in codes {
            let scheme = (259, 3, vec![compression]);
            for predictor in [1, 2] {
                let more = [&rgb16[..], &[scheme.clone(), (317, 3, vec![predictor])]].concat();
                let (wanted, got) = both(&file(1800, 1, code, &more));
                assert!(got.unwrap() == wanted, "{compression} {predictor}");
            }
            // planar channels, reversed bits
            let apart = [
                scheme,
                (258, 3, vec![8; 3]),
                (262, 3, vec![2]),
                (266, 3, vec![2]),
                (277, 3, vec![3]),
                (284, 3, vec![2]),
            ];
            let reversed =
                |bytes: &[u8]| -> Vec<u8> { code(bytes).iter().map(|b| b.reverse_bits()).collect() };
            let (wanted, got) = both(&file(300, 3, reversed, &apart));
            assert!(got.unwrap() == wanted, "{compression}");
        }
    }

    #[test]
    fn subsampled_chroma_and_facsimile_are_read_row_by_row() {
        // blocks of 2 by 2: 6 bytes for 4 pixels, so 450 for a row
        let ycbcr = [
            (258, 3, vec![8; 3]),
            (262, 3, vec![6]),
            (277, 3, vec![3]),
            (530, 3, vec![2, 2]),
        ];
        let (wanted, got) = both(&file(450, 1, |bytes| bytes.to_vec(), &ycbcr));
        assert!(got.unwrap() == wanted);
        // V0 per row: all white
        let fax = [(258, 3, vec![1]), (259, 3, vec![4])];
        let code = |strip: &[u8]| vec![0xff; strip.len() / 38 / 8];
        let (wanted, got) = both(&file(38, 1, code, &fax));
        assert!(got.unwrap() == wanted);
    }

    #[test]
    fn a_truncated_strip_is_corrupt() {
        let more = [(259, 3, vec![8])];
        let mut bytes = file(300, 1, deflated, &more);
        let (_, got) = both(&bytes);
        assert!(got.is_ok());
        let temp = |bytes: &[u8]| {
            let limits = Limits {
                tile_bytes: 20_000,
                ..Limits::default()
            };
            let tiff = Tiff::open(Temp::new(bytes).open(), &limits).unwrap();
            let all = Window::new(0, Rect::of(tiff.header().size()));
            tiff.read(all, &NoCache, &mut |_, _| Ok(()))
        };
        for at in (100..1000).step_by(50) {
            bytes[at] ^= 0x55;
        }
        assert!(matches!(temp(&bytes), Err(Error::Corrupt(_))));
    }
}
