//! JPEG (ISO/IEC 10918-1, ITU-T T.81): decodes and encodes complete streams, and completes abbreviated ones.
//!
//! Supports baseline, extended sequential and progressive with 8 bits, sequential with 12 (Huffman coding), and
//! lossless; progressive with 12 bits and hierarchical coding are unsupported. Decoding is done by the system's
//! TurboJPEG (feature `native`), which alone supports arithmetic coding, or by Rust crates behind the same interface;
//! headers and completeness are checked here, so that both builds agree.

mod bits;
mod blocks;
mod deep;
mod huffman;
pub mod join;
pub(crate) mod lines;
mod lossless;
#[cfg(not(feature = "native"))]
mod pure;
pub mod scan;
pub(crate) mod stream;
#[cfg(feature = "native")]
mod turbo;
mod upsample;

use crate::codec::check_pixels;
#[cfg(not(feature = "native"))]
use crate::codec::jpeg::pure as library;
#[cfg(feature = "native")]
use crate::codec::jpeg::turbo as library;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Layout;
use crate::raster::Raster;
use crate::raster::Samples;
use std::borrow::Cow;

pub use crate::codec::jpeg::stream::StreamColour;
pub use crate::codec::jpeg::stream::merge;

/// Bands have a multiple of this many rows: whole MCUs of 4:2:0.
pub const ROWS: u32 = 16;

/// Blocks allowed beyond one per bit of the stream.
const SPARE_BLOCKS: u64 = 16 << 10;

/// Limit of block visits by all scans of a frame: a constant, and an amount per byte of the stream. A visit takes
/// some 10 ns.
const VISITS: (u64, u64) = (1 << 20, 200);

/// Maximum number of scans of a frame.
const MAX_SCANS: u64 = 500;

/// The relative cost of a visit with arithmetic coding.
const ARITHMETIC: u64 = 10;

/// The longest side, in pixels, that the libraries can write.
const MAX_SIDE: u32 = 65500;

/// Decodes a complete stream to 8-bit samples: one channel for grey, three (red, green, blue) for colour, two and
/// four as stored (but YCCK as CMYK). 12-bit streams give the same channels, and lossless ones the stored channels,
/// in 16 bits if they have more than 8, of which the lowest are used.
///
/// Whether three components are YCbCr or RGB is determined by the stream's JFIF and Adobe markers, and guessed
/// without them: [`merge`] makes it explicit. A frame larger than `limit` in either direction is `Corrupt`, before
/// memory is allocated. Damage inside the entropy-coded data is tolerated as usual (the area is grey or wrong) if the
/// stream has its end marker. Without the end marker, a stream must contain every pixel; a truncated one is `Corrupt`
/// (the Rust build cannot distinguish the two, and rejects both). Other numbers of components and unsupported
/// processes are `Unsupported`.
pub fn decode(stream: &[u8], limit: Size) -> Result<Raster> {
    decode_reduced(stream, limit, 0)
}

/// [`decode`] of the [merged](merge) streams. If the library accepts separate tables, nothing is merged.
pub fn decode_tile(tables: Option<&[u8]>, tile: &[u8], colour: StreamColour, limit: Size) -> Result<Raster> {
    match tables {
        Some(tables) if library::ACCEPTS_TABLES && stream::can_follow(tables, tile, colour) => {
            decode_after(Some(tables), tile, limit, 0)
        }
        _ => decode(&merge(tables, tile, colour)?, limit),
    }
}

/// Decodes a stream at a scale of 2^-`halvings` (up to [`scan::HALVINGS`]), in the inverse DCT;
/// sides are rounded up. One side must have at least 9 pixels.
pub(crate) fn decode_reduced(stream: &[u8], limit: Size, halvings: u32) -> Result<Raster> {
    decode_after(None, stream, limit, halvings)
}

fn decode_after(tables: Option<&[u8]>, stream: &[u8], limit: Size, halvings: u32) -> Result<Raster> {
    let frame = stream::frame_after(tables, stream)?;
    let bypasses_library = halvings == 0 && bypasses_library(&frame);
    if frame.components != 2 && !bypasses_library {
        check(&frame)?;
    }
    let channels = frame.components;
    if frame.size.w > limit.w || frame.size.h > limit.h {
        return Err(Error::Corrupt(format!(
            "jpeg frame is {}x{}, expected at most {}x{}",
            frame.size.w, frame.size.h, limit.w, limit.h
        )));
    }
    if bypasses_library {
        check_blocks(&frame, stream.len() as u64)?;
        return match frame.process {
            3 => lossless::decode(stream, &frame),
            _ => deep::decode(stream, &frame),
        };
    }
    if channels == 2 {
        return decode_two_components(stream, &frame, halvings);
    }
    check_scans(&frame, stream)?;
    let ended = frame.ended;
    let mut stream = Cow::Borrowed(stream);
    if !ended {
        stream.to_mut().extend_from_slice(&[0xff, stream::EOI]);
    }
    // a stream without Huffman tables does not depend on the library's default
    if !frame.tables && frame.process < 2 {
        stream.to_mut().splice(2..2, huffman::STANDARD);
    }
    let size = frame.size.halved_up(halvings);
    let data = library::decode(tables, &stream, size, channels, !ended)?;
    Ok(Raster {
        size,
        channels,
        samples: Samples::U8(data),
    })
}

/// `TooLarge` if a frame that is progressive, or has more scans than components, has too many scans or visits its
/// coefficients more often than its bytes justify: many nearly empty scans of many blocks.
fn check_scans(frame: &stream::Frame, stream: &[u8]) -> Result<()> {
    let scans = stream::scans(stream);
    if frame.process != 2 && scans <= frame.components.into() {
        return Ok(());
    }
    if scans > MAX_SCANS {
        return Err(Error::TooLarge(format!(
            "jpeg has {scans} scans, at most {MAX_SCANS} are supported"
        )));
    }
    // arithmetic decoding takes ten times as long even for empty blocks
    let weight = if matches!(frame.process, 9 | 10) {
        ARITHMETIC
    } else {
        1
    };
    let visits = frame.blocks.saturating_mul(scans).saturating_mul(weight);
    let max = (stream.len() as u64)
        .saturating_mul(VISITS.1)
        .saturating_add(VISITS.0);
    if visits <= max {
        return Ok(());
    }
    Err(Error::TooLarge(format!(
        "jpeg scans visit {visits} blocks, at most {max} are allowed for its length"
    )))
}

/// `Corrupt` if a frame has more blocks than a stream of `len` bytes has bits, apart from a constant.
pub(crate) fn check_blocks(frame: &stream::Frame, len: u64) -> Result<()> {
    if frame.blocks <= len.saturating_mul(8).saturating_add(SPARE_BLOCKS) {
        return Ok(());
    }
    let Size { w, h } = frame.size;
    Err(Error::Corrupt(format!("jpeg of {w}x{h} pixels in {len} bytes")))
}

/// Decodes a stream of two components as one of three, and drops the third.
fn decode_two_components(stream: &[u8], frame: &stream::Frame, halvings: u32) -> Result<Raster> {
    let scan = scan::Scan::of_two(stream).filter(|_| frame.ended);
    let scan = scan
        .ok_or_else(|| Error::Unsupported("jpeg with 2 components of this kind is not supported".into()))?;
    let size = scan.size(halvings);
    let raster = scan.read(&stream, Rect::of(size), halvings)?;
    let pixels = match &raster.samples {
        Samples::U8(samples) => samples.as_chunks::<3>().0,
        _ => &[],
    };
    let pairs: Vec<[u8; 2]> = pixels
        .iter()
        .map(|[first, second, _]| [*first, *second])
        .collect();
    Ok(Raster {
        size,
        channels: 2,
        samples: Samples::U8(pairs.into_flattened()),
    })
}

/// Whether browsers support such a stream: Huffman coding of 8 bits, sequential or progressive.
pub fn is_browser_compatible(stream: &[u8]) -> bool {
    stream::frame(stream).is_ok_and(|frame| frame.bits == 8 && frame.process <= 2)
}

/// Whether such a frame is decoded without the library, to samples as stored.
pub(crate) fn bypasses_library(frame: &stream::Frame) -> bool {
    frame.process == 3 || deep::is_deep(frame) && frame.quantised
}

/// Checks that the library supports such a frame: `Unsupported` names the reason; `Corrupt` if a quantisation table is
/// missing.
pub(crate) fn check(frame: &stream::Frame) -> Result<()> {
    let process = match frame.process {
        0..=2 => None,
        9 | 10 if library::SUPPORTS_ARITHMETIC => None,
        3 => Some("lossless"),
        5..=7 => Some("hierarchical"),
        11 => Some("lossless, arithmetic"),
        13..=15 => Some("hierarchical, arithmetic"),
        _ => Some("arithmetic"),
    };
    let what = match process {
        Some(process) => format!("{process} jpeg (SOF{})", frame.process),
        None if frame.bits != 8 => format!("jpeg with {} bits", frame.bits),
        None if !matches!(frame.components, 1 | 3 | 4) => {
            format!("jpeg with {} components", frame.components)
        }
        None if !frame.quantised => return Err(Error::Corrupt("jpeg without quantisation tables".into())),
        None => return Ok(()),
    };
    Err(Error::Unsupported(format!("{what} is not supported")))
}

/// Chroma subsampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// 4:2:0: half the width and half the height.
    #[default]
    Yuv420,
    /// 4:2:2: half the width.
    Yuv422,
    /// 4:4:4: not subsampled.
    Yuv444,
}

/// Encoder settings besides the quality.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct JpegStyle {
    /// Chroma subsampling.
    pub sampling: Sampling,
    /// Progressive coding.
    pub progressive: bool,
}

/// Encodes `size.w * size.h` pixels, rows from the top, as a JFIF stream. `style` gives the subsampling of chroma, and baseline or
/// progressive coding.
///
/// `Rgb` is converted to YCbCr; `Rgba` is `Unsupported`. `quality` is 1–100 in the scale of the Independent
/// JPEG Group (clamped). `TooLarge` for a side over 65500, `Corrupt` for another number of pixels than `size` has.
pub fn encode(pixels: &[u8], size: Size, layout: Layout, quality: u8, style: JpegStyle) -> Result<Vec<u8>> {
    if layout == Layout::Rgba {
        return Err(Error::Unsupported("jpeg has no alpha".into()));
    }
    if size.w > MAX_SIDE || size.h > MAX_SIDE {
        return Err(Error::TooLarge(format!(
            "a jpeg side has at most {MAX_SIDE} pixels, got {}x{}",
            size.w, size.h
        )));
    }
    check_pixels(pixels, size, layout)?;
    library::encode(pixels, size, layout, quality.clamp(1, 100), style)
}

/// Re-encodes a complete stream of this size at another quality, keeping luma and chroma: chroma is not subsampled
/// again, and no colours are rounded. `None` if it has to be decoded to pixels: for RGB and subsampling other than
/// 4:2:0, truncated, 12-bit or arithmetic-coded streams, and in the Rust build. `Corrupt` for another size.
pub fn requantise(stream: &[u8], size: Size, quality: u8) -> Result<Option<Vec<u8>>> {
    let frame = stream::frame(stream)?;
    if frame.size != size {
        return Err(Error::Corrupt(format!(
            "jpeg frame is {}x{}, expected {}x{}",
            frame.size.w, frame.size.h, size.w, size.h
        )));
    }
    if frame.bits != 8 || !matches!(frame.process, 0..=2) || !frame.ended {
        return Ok(None);
    }
    library::requantise(stream, size, quality.clamp(1, 100))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::codec::jpeg::stream::EOI;
    use crate::codec::jpeg::stream::MarkerSegments;
    use crate::codec::jpeg::stream::SOS;
    use proptest::prelude::*;

    const ANY: Size = Size::new(65535, 65535);

    fn grey(size: Size) -> Vec<u8> {
        let pixels = slope(size, Layout::Grey);
        encode(&pixels, size, Layout::Grey, 90, JpegStyle::default()).unwrap()
    }

    fn coloured(size: Size, quality: u8) -> Vec<u8> {
        let pixels = slope(size, Layout::Rgb);
        encode(&pixels, size, Layout::Rgb, quality, JpegStyle::default()).unwrap()
    }

    /// Smooth in every channel, so that chroma subsampling causes little error.
    fn slope(size: Size, layout: Layout) -> Vec<u8> {
        let pixel = |i: u32| {
            let (x, y) = (i % size.w, i / size.w);
            let values = [
                x * 255 / size.w,
                y * 255 / size.h,
                (x + y) * 255 / (size.w + size.h),
            ];
            values.map(|v| v as u8).into_iter().take(layout.channels())
        };
        (0..size.w * size.h).flat_map(pixel).collect()
    }

    fn bytes(raster: &Raster) -> &[u8] {
        match &raster.samples {
            Samples::U8(data) => data,
            other => panic!("8 bits expected, got {other:?}"),
        }
    }

    fn worst(a: &[u8], b: &[u8]) -> u8 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    }

    /// The abbreviated form: separate tables.
    fn split(stream: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut tables = vec![0xff, 0xd8];
        let mut tile = vec![0xff, 0xd8];
        for segment in MarkerSegments::of(stream).unwrap() {
            let segment = segment.unwrap();
            match segment.marker {
                0xc4 | 0xdb => tables.extend_from_slice(segment.whole),
                0xe0..=0xef => {}
                _ => tile.extend_from_slice(segment.whole),
            }
            if segment.marker == SOS {
                tile.extend_from_slice(segment.rest);
            }
        }
        tables.extend_from_slice(&[0xff, EOI]);
        (tables, tile)
    }

    #[test]
    fn smooth_pictures_round_trip_within_tolerance() {
        for size in [
            Size::new(1, 1),
            Size::new(17, 33),
            Size::new(256, 256),
            Size::new(900, 700),
        ] {
            for layout in [Layout::Grey, Layout::Rgb] {
                let pixels = slope(size, layout);
                let stream = encode(&pixels, size, layout, 95, JpegStyle::default()).unwrap();
                let raster = decode(&stream, size).unwrap();
                assert_eq!(
                    (raster.size, usize::from(raster.channels)),
                    (size, layout.channels())
                );
                let worst = worst(bytes(&raster), &pixels);
                assert!(worst <= 24, "{size:?} {layout:?}: {worst}");
                let mean = bytes(&raster)
                    .iter()
                    .zip(&pixels)
                    .map(|(a, b)| u32::from(a.abs_diff(*b)))
                    .sum::<u32>()
                    / pixels.len() as u32;
                assert!(mean <= 2, "{size:?} {layout:?}: {mean}");
            }
        }
    }

    #[test]
    #[cfg(feature = "native")]
    fn requantising_keeps_luma_and_chroma() {
        for (w, h) in [(64, 64), (63, 33), (1, 1), (700, 2), (2000, 1500)] {
            let size = Size::new(w, h);
            for layout in [Layout::Grey, Layout::Rgb] {
                let stream = encode(&slope(size, layout), size, layout, 95, JpegStyle::default()).unwrap();
                let same = requantise(&stream, size, 95).unwrap().unwrap();
                let pixels = |stream: &[u8]| bytes(&decode(stream, size).unwrap()).to_vec();
                let worst = worst(&pixels(&stream), &pixels(&same));
                assert!(worst <= 6, "{size:?} {layout:?}: {worst}");
                let poor = requantise(&stream, size, 20).unwrap().unwrap();
                assert!(poor.len() < same.len() || w * h < 100, "{size:?} {layout:?}");
            }
        }
        let size = Size::new(32, 32);
        let stream = coloured(size, 75);
        assert!(matches!(
            requantise(&stream, Size::new(31, 32), 50),
            Err(Error::Corrupt(_))
        ));
        let rgb = merge(None, &stream, StreamColour::Rgb).unwrap();
        assert_eq!(requantise(&rgb, size, 50).unwrap(), None);
        assert_eq!(requantise(&stream[..stream.len() - 2], size, 50).unwrap(), None);
    }

    #[test]
    fn a_better_quality_takes_more_bytes() {
        let size = Size::new(64, 64);
        let pixels = slope(size, Layout::Rgb);
        let len = |quality| {
            encode(&pixels, size, Layout::Rgb, quality, JpegStyle::default())
                .unwrap()
                .len()
        };
        assert!(len(20) < len(75) && len(75) < len(100));
        assert_eq!(len(0), len(1));
    }

    #[test]
    fn streams_have_the_requested_style() {
        let size = Size::new(40, 24);
        let pixels = slope(size, Layout::Rgb);
        for (sampling, luma) in [
            (Sampling::default(), 0x22),
            (Sampling::Yuv422, 0x21),
            (Sampling::Yuv444, 0x11),
        ] {
            for (progressive, marker) in [(false, 0xc0), (true, 0xc2)] {
                let style = JpegStyle {
                    sampling,
                    progressive,
                };
                let stream = encode(&pixels, size, Layout::Rgb, 95, style).unwrap();
                let frame = MarkerSegments::of(&stream)
                    .unwrap()
                    .map(|s| s.unwrap())
                    .find(|s| s.marker == marker);
                let factors: Vec<u8> = frame
                    .unwrap()
                    .payload
                    .get(6..)
                    .unwrap()
                    .chunks(3)
                    .map(|c| c[1])
                    .collect();
                assert_eq!(factors, [luma, 0x11, 0x11], "{style:?}");
                let worst = worst(bytes(&decode(&stream, size).unwrap()), &pixels);
                assert!(worst <= 24, "{style:?}: {worst}");
            }
        }
    }

    #[test]
    fn unsupported_pixels_are_refused() {
        let refused = |pixels: &[u8], size, layout| {
            encode(pixels, size, layout, 75, JpegStyle::default())
                .unwrap_err()
                .status()
        };
        assert_eq!(refused(&[0; 4], Size::new(1, 1), Layout::Rgba), 501);
        assert_eq!(refused(&[0; 65501], Size::new(65501, 1), Layout::Grey), 413);
        assert_eq!(refused(&[0; 5], Size::new(2, 2), Layout::Grey), 500);
        assert_eq!(refused(&[], Size::new(0, 2), Layout::Grey), 500);
    }

    #[test]
    fn a_frame_over_the_limit_is_corrupt() {
        let size = Size::new(40, 30);
        let stream = coloured(size, 75);
        assert!(decode(&stream, size).is_ok());
        for limit in [Size::new(39, 30), Size::new(40, 29)] {
            assert!(matches!(decode(&stream, limit), Err(Error::Corrupt(_))));
        }
    }

    #[test]
    #[cfg(feature = "native")]
    fn a_missing_end_marker_is_tolerated() {
        let size = Size::new(128, 128);
        let stream = coloured(size, 90);
        assert_eq!(
            decode(&stream[..stream.len() - 2], size).unwrap(),
            decode(&stream, size).unwrap()
        );
    }

    #[test]
    fn a_truncated_stream_is_corrupt() {
        let size = Size::new(128, 128);
        let stream = coloured(size, 90);
        for kept in [
            stream.len() / 2,
            stream.len() * 3 / 4,
            stream.len() - 40,
            300,
            20,
            2,
            0,
        ] {
            let cut = decode(&stream[..kept], size);
            assert!(
                matches!(cut, Err(Error::Corrupt(_))),
                "{kept} of {} bytes",
                stream.len()
            );
        }
    }

    #[test]
    fn bytes_after_the_end_marker_are_ignored() {
        let size = Size::new(32, 32);
        let mut stream = grey(size);
        let whole = decode(&stream, size).unwrap();
        stream.extend_from_slice(&[0; 100]);
        assert_eq!(decode(&stream, size).unwrap(), whole);
    }

    #[test]
    fn other_processes_and_component_counts_are_unsupported() {
        let size = Size::new(8, 8);
        let stream = grey(size);
        let at = stream.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        for (offset, value) in [(1, 0xc7), (1, 0xf7), (1, 0xcb), (4, 10), (9, 5), (9, 2)] {
            let mut other = stream.clone();
            other[at + offset] = value;
            assert_eq!(
                decode(&other, size).unwrap_err().status(),
                501,
                "{offset} {value}"
            );
        }
    }

    /// 8x8 samples of 20 times the column and 9 times the row, by `cjpeg -arithmetic -quality 90`.
    #[cfg(feature = "native")]
    const ARITHMETIC: &[u8] = b"\xff\xd8\xff\xdb\0\x43\0\
        \x03\x02\x02\x03\x02\x02\x03\x03\x03\x03\x04\x03\x03\x04\x05\x08\x05\x05\x04\x04\x05\x0a\x07\x07\x06\x08\x0c\x0a\x0c\x0c\x0b\
        \x0a\x0b\x0b\x0d\x0e\x12\x10\x0d\x0e\x11\x0e\x0b\x0b\x10\x16\x10\x11\x13\x14\x15\x15\x15\x0c\x0f\x17\x18\x16\x14\x18\x12\
        \x14\x15\x14\xff\xc9\0\x0b\x08\0\x08\0\x08\x01\x01\x11\0\xff\xcc\0\x06\0\x10\x10\x05\xff\xda\0\x08\x01\x01\0\0\x3f\0\
        \xff\0\xb2\xbc\xa8\x06\x83\x9d\x3c\x7b\x7c\xd4\x81\xff\xd9";

    #[test]
    #[cfg(feature = "native")]
    fn arithmetic_coding_gives_the_same_pixels_and_is_not_for_browsers() {
        let size = Size::new(8, 8);
        let samples: Vec<u8> = (0..64u8).map(|at| at % 8 * 20 + at / 8 * 9).collect();
        let found = decode(ARITHMETIC, size).unwrap();
        let Samples::U8(found) = found.samples else {
            panic!("{found:?}")
        };
        let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 3;
        assert!(found.iter().zip(&samples).all(near), "{found:?}");
        assert!(!is_browser_compatible(ARITHMETIC) && is_browser_compatible(&grey(size)));
    }

    #[test]
    fn merge_restores_abbreviated_streams() {
        let size = Size::new(50, 40);
        for (layout, colour) in [
            (Layout::Grey, StreamColour::Grey),
            (Layout::Rgb, StreamColour::Ycbcr),
        ] {
            let stream = encode(&slope(size, layout), size, layout, 85, JpegStyle::default()).unwrap();
            let (tables, tile) = split(&stream);
            assert!(
                decode(&tile, size).is_err(),
                "the tile decodes without its tables"
            );
            let merged = merge(Some(&tables), &tile, colour).unwrap();
            assert_eq!(decode(&merged, size).unwrap(), decode(&stream, size).unwrap());
        }
    }

    #[test]
    fn separate_tables_decode_like_merged_ones() {
        let size = Size::new(50, 40);
        let stream = coloured(size, 85);
        let (tables, tile) = split(&stream);
        let insert = |start: &[u8], more: &[u8]| [&start[..2], more, &start[2..]].concat();
        let frame = tile.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        let mut named = tile.clone();
        for (at, name) in (frame + 10..).step_by(3).zip(*b"RGB") {
            named[at] = name;
        }
        let scan = tile.windows(2).position(|pair| pair == [0xff, SOS]).unwrap();
        for (at, name) in (scan + 5..).step_by(2).zip(*b"RGB") {
            named[at] = name;
        }
        let grey = [stream::ADOBE, &[0]].concat();
        let interval = [0xff, stream::DRI, 0, 4, 0, 2];
        let (other_tables, _) = split(&coloured(size, 30));
        let with_tables = insert(&tile, &other_tables[2..other_tables.len() - 2]);
        for (tables, tile, colour, follows) in [
            (&tables, &tile, StreamColour::Ycbcr, true),
            (&tables, &tile, StreamColour::Rgb, false),
            (&tables, &named, StreamColour::Rgb, true),
            (&tables, &named, StreamColour::Ycbcr, false),
            (&tables, &insert(&tile, stream::JFIF), StreamColour::Ycbcr, true),
            (&tables, &insert(&tile, stream::JFIF), StreamColour::Rgb, false),
            (&tables, &insert(&tile, &grey), StreamColour::Rgb, true),
            (&tables, &insert(&tile, &grey), StreamColour::Ycbcr, false),
            (&tables, &insert(&tile, &interval), StreamColour::Ycbcr, true),
            (&insert(&tables, &interval), &tile, StreamColour::Ycbcr, false),
            (&insert(&tables, stream::JFIF), &tile, StreamColour::Ycbcr, false),
            (
                &tables[..tables.len() - 2].to_vec(),
                &tile,
                StreamColour::Ycbcr,
                false,
            ),
            (&tables, &with_tables, StreamColour::Ycbcr, true),
        ] {
            assert_eq!(stream::can_follow(tables, tile, colour), follows, "{colour:?}");
            let found = decode_tile(Some(tables), tile, colour, size).unwrap();
            let merged = decode(&merge(Some(tables), tile, colour).unwrap(), size).unwrap();
            assert_eq!(found, merged, "{colour:?}");
        }
        // streams that lack tables fail, whatever this thread decoded before
        assert!(decode(&tile, size).is_err());
        assert!(decode_tile(Some(&[0xff, 0xd8, 0xff, 0xd9]), &tile, StreamColour::Ycbcr, size).is_err());
        assert!(decode_tile(Some(&tables), &tile[..tile.len() / 2], StreamColour::Ycbcr, size).is_err());
    }

    #[test]
    fn missing_huffman_tables_default_to_the_standard_ones() {
        let size = Size::new(50, 40);
        // the encoder uses the standard tables
        let stream = coloured(size, 85);
        let mut bare = vec![0xff, 0xd8];
        for segment in MarkerSegments::of(&stream).unwrap() {
            let segment = segment.unwrap();
            if segment.marker != stream::DHT {
                bare.extend_from_slice(segment.whole);
            }
            if segment.marker == SOS {
                bare.extend_from_slice(segment.rest);
            }
        }
        let expected = decode(&stream, size).unwrap();
        let scan = scan::Scan::of(&stream).unwrap();
        let from = &stream[..];
        assert_eq!(
            scan.read(&from, crate::geometry::Rect::of(size), 0).unwrap(),
            expected
        );
        assert_eq!(decode(&bare, size).unwrap(), expected);
        let scan = scan::Scan::of(&bare).unwrap();
        let from = &bare[..];
        assert_eq!(
            scan.read(&from, crate::geometry::Rect::of(size), 0).unwrap(),
            expected
        );
    }

    #[test]
    fn the_same_stream_read_as_rgb_gives_its_luma_and_chroma() {
        let size = Size::new(32, 32);
        let pixels = [200, 100, 50].repeat(32 * 32);
        let stream = encode(&pixels, size, Layout::Rgb, 98, JpegStyle::default()).unwrap();
        let (tables, tile) = split(&stream);
        // JFIF 1.02 p. 3: Y = 0.299 R + 0.587 G + 0.114 B; Cb = 0.5642 (B - Y) + 128; Cr = 0.7132 (R - Y) + 128.
        let stored = [124, 86, 182].repeat(32 * 32);
        for stream in [
            merge(Some(&tables), &tile, StreamColour::Rgb),
            merge(None, &stream, StreamColour::Rgb),
        ] {
            let raster = decode(&stream.unwrap(), ANY).unwrap();
            assert!(worst(bytes(&raster), &stored) <= 3);
        }
        let raster = decode(&merge(Some(&tables), &tile, StreamColour::Ycbcr).unwrap(), ANY).unwrap();
        assert!(worst(bytes(&raster), &pixels) <= 5);
    }

    proptest! {
        #[test]
        fn damaged_streams_give_pixels_or_an_error(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let size = Size::new(48, 48);
            let mut stream = coloured(size, 75);
            for (at, value) in damage {
                let at = at.index(stream.len());
                stream[at] = value;
            }
            stream.truncate(stream.len().min(cut.index(stream.len() * 2)));
            if let Ok(raster) = decode(&stream, size) {
                prop_assert_eq!(bytes(&raster).len() as u64, raster.size.area() * u64::from(raster.channels));
            }
            for colour in [StreamColour::Grey, StreamColour::Rgb, StreamColour::Ycbcr] {
                let _ = merge(Some(&stream), &stream, colour);
            }
        }
    }

    #[test]
    fn two_components_are_given_as_they_are_stored() {
        /// 16x16 pixels, 40 beside 200 and 255 above 16, by libjpeg.
        #[rustfmt::skip]
        const TWO: &[u8] = &[
            0xff, 0xd8, 0xff, 0xdb, 0x00, 0x43, 0x00, 0x02, 0x01, 0x01, 0x01, 0x01, 0x01, 0x02, 0x01, 0x01,
            0x01, 0x02, 0x02, 0x02, 0x02, 0x02, 0x04, 0x03, 0x02, 0x02, 0x02, 0x02, 0x05, 0x04, 0x04, 0x03,
            0x04, 0x06, 0x05, 0x06, 0x06, 0x06, 0x05, 0x06, 0x06, 0x06, 0x07, 0x09, 0x08, 0x06, 0x07, 0x09,
            0x07, 0x06, 0x06, 0x08, 0x0b, 0x08, 0x09, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x06, 0x08, 0x0b, 0x0c,
            0x0b, 0x0a, 0x0c, 0x09, 0x0a, 0x0a, 0x0a, 0xff, 0xc0, 0x00, 0x0e, 0x08, 0x00, 0x10, 0x00, 0x10,
            0x02, 0x00, 0x11, 0x00, 0x01, 0x11, 0x00, 0xff, 0xc4, 0x00, 0x16, 0x00, 0x01, 0x01, 0x01, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x00, 0x09, 0xff,
            0xc4, 0x00, 0x14, 0x10, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xda, 0x00, 0x0a, 0x02, 0x00, 0x00, 0x01, 0x00, 0x00, 0x3f,
            0x00, 0xc9, 0xf6, 0xfe, 0x14, 0x02, 0x17, 0xf0, 0x43, 0x28, 0x04, 0xff, 0xd9,
        ];
        let stream = merge(None, TWO, StreamColour::Rgb).unwrap();
        let raster = decode(&stream, Size::new(16, 16)).unwrap();
        assert_eq!((raster.size, raster.channels), (Size::new(16, 16), 2));
        let Samples::U8(samples) = raster.samples else {
            panic!("8 bit")
        };
        for (place, [grey, alpha]) in samples.as_chunks::<2>().0.iter().enumerate() {
            let expected = [
                if place % 16 < 8 { 40u8 } else { 200 },
                if place < 128 { 255 } else { 16 },
            ];
            let near = grey.abs_diff(expected[0]).max(alpha.abs_diff(expected[1]));
            assert!(near <= 2, "{place}: {grey} {alpha}");
        }
        let cut = &stream[..stream.len() - 6];
        assert!(matches!(
            decode(cut, Size::new(16, 16)),
            Err(Error::Unsupported(_) | Error::Corrupt(_))
        ));
    }
}
