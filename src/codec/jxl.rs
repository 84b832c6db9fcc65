//! JPEG XL in TIFF: decodes a codestream (or a file) to the bytes of its samples.
//!
//! Colours are not converted. Source: ISO/IEC 18181-1.

use crate::codec::BlockShape;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::SampleFormat;
use jxl_oxide::AllocTracker;
use jxl_oxide::JxlImage;

/// The decoder's planes take 4 bytes per sample, and several of them are in memory at once.
const PLANES: u64 = 12;

/// Decodes the first frame into `out`: `w * h * channels` samples of `bits`, channels interleaved, in one byte each
/// or, for more than 8 bits, in two. Samples of other depths are scaled to the full range.
///
/// `Error::Corrupt` if the stream is damaged or has another shape; memory is bounded by the given shape.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "floating point saturates, NaN is 0"
)]
pub fn decode(data: &[u8], shape: BlockShape, out: &mut Vec<u8>) -> Result<()> {
    let samples = shape.size.area().saturating_mul(shape.channels as u64);
    let most = samples.saturating_mul(4 * PLANES).saturating_add(32 << 20);
    let tracker = AllocTracker::with_limit(usize::try_from(most).unwrap_or(usize::MAX));
    let image = JxlImage::builder()
        .alloc_tracker(tracker)
        .read(data)
        .map_err(|_| damaged())?;
    let found = Size::new(image.width(), image.height());
    let colours = if image.pixel_format().is_grayscale() { 1 } else { 3 };
    let planes = colours + image.image_header().metadata.ec_info.len();
    if found != shape.size || planes != shape.channels {
        return Err(Error::Corrupt(format!(
            "a JPEG XL block is {}x{} with {planes} channels, expected {}x{} with {}",
            found.w, found.h, shape.size.w, shape.size.h, shape.channels
        )));
    }
    let frame = image.render_frame(0).map_err(|_| damaged())?.image_all_channels();
    let values = frame.buf();
    if values.len() as u64 != samples {
        return Err(damaged());
    }
    let most = (1u64 << shape.bits.min(63)) as f32 - 1.0;
    out.clear();
    out.reserve(values.len() * usize::from(shape.bits.div_ceil(8)));
    match (shape.kind, shape.bits) {
        (SampleFormat::Unsigned, 1..=8) => out.extend(values.iter().map(|v| (v * most + 0.5) as u8)),
        (SampleFormat::Unsigned, 9..=16) => out.extend(
            values
                .iter()
                .flat_map(|v| shape.ordered(((v * most + 0.5) as u16).to_be_bytes())),
        ),
        (SampleFormat::Float, 32) => out.extend(values.iter().flat_map(|v| shape.ordered(v.to_be_bytes()))),
        _ => {
            return Err(Error::Unsupported(format!(
                "{:?} samples of {} bits in JPEG XL are not supported",
                shape.kind, shape.bits
            )));
        }
    }
    Ok(())
}

fn damaged() -> Error {
    Error::Corrupt("a JPEG XL stream is damaged".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5x4 pixels of (50 x, 60 y, 13 x y), lossless, by `cjxl`.
    #[rustfmt::skip]
    const BYTES: &[u8] = &[
        0xff, 0x0a, 0x18, 0x30, 0x10, 0x50, 0x5c, 0x08, 0x08, 0x02, 0x01, 0x00, 0x00, 0x01, 0x4b, 0x12,
        0xc5, 0x82, 0x85, 0x24, 0x12, 0xeb, 0x26, 0x13, 0x78, 0x15, 0x01, 0x31, 0xb7, 0x69, 0xe0, 0x3b,
        0x00, 0x41, 0x28, 0xa1, 0x2d, 0x99, 0x12, 0x21, 0x5f, 0x08, 0xa5, 0x99, 0x24, 0x49, 0x21, 0x86,
        0x86, 0x86, 0x86, 0x6a, 0xfa, 0x4b, 0x9f, 0x01, 0x71, 0x2e, 0x88, 0x99, 0xe3, 0xe2, 0xe8, 0xf8,
        0xbe, 0xff, 0xbb, 0xb4, 0x04, 0xaf, 0x8d, 0xb5, 0xfb, 0xd0, 0x1b, 0x1f, 0x63, 0x61,
    ];

    /// 5x4 samples of 9000 x + 77 y, 16 bits, lossless, in a file, by `cjxl`.
    #[rustfmt::skip]
    const WORDS: &[u8] = &[
        0x00, 0x00, 0x00, 0x0c, 0x4a, 0x58, 0x4c, 0x20, 0x0d, 0x0a, 0x87, 0x0a, 0x00, 0x00, 0x00, 0x14,
        0x66, 0x74, 0x79, 0x70, 0x6a, 0x78, 0x6c, 0x20, 0x00, 0x00, 0x00, 0x00, 0x6a, 0x78, 0x6c, 0x20,
        0x00, 0x00, 0x00, 0x09, 0x6a, 0x78, 0x6c, 0x6c, 0x0a, 0x00, 0x00, 0x00, 0x47, 0x6a, 0x78, 0x6c,
        0x63, 0xff, 0x0a, 0x18, 0x30, 0xfc, 0x00, 0xc5, 0x85, 0x08, 0x02, 0x01, 0x00, 0xc4, 0x00, 0x4b,
        0x12, 0xc5, 0x82, 0x85, 0x24, 0x16, 0xd6, 0x8d, 0xa1, 0x29, 0xd8, 0xc4, 0xf0, 0x78, 0xac, 0x6c,
        0x84, 0x50, 0x46, 0x28, 0x23, 0x94, 0x11, 0xca, 0xb0, 0x99, 0x07, 0x3f, 0xd3, 0xdd, 0xdd, 0x92,
        0x12, 0x10, 0x72, 0x0d, 0x92, 0x41, 0x02, 0x75, 0xae, 0x15, 0x7b, 0xa2, 0xab, 0x22, 0x55, 0x03,
    ];

    const SHAPE: BlockShape = BlockShape {
        size: Size::new(5, 4),
        channels: 3,
        bits: 8,
        kind: SampleFormat::Unsigned,
        big: false,
    };

    fn read(data: &[u8], shape: BlockShape) -> Result<Vec<u8>> {
        let mut out = vec![9; 3];
        decode(data, shape, &mut out).map(|()| out)
    }

    fn places() -> impl Iterator<Item = (u16, u16)> {
        (0..4).flat_map(|y| (0..5).map(move |x| (x, y)))
    }

    #[test]
    fn lossless_streams_come_back_exactly() {
        let bytes: Vec<u8> = places()
            .flat_map(|(x, y)| [x * 50, y * 60, x * y * 13])
            .map(|v| u8::try_from(v).unwrap())
            .collect();
        assert_eq!(read(BYTES, SHAPE).unwrap(), bytes);
        let grey = BlockShape {
            channels: 1,
            bits: 16,
            ..SHAPE
        };
        let values: Vec<u16> = places().map(|(x, y)| x * 9000 + y * 77).collect();
        let little: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(read(WORDS, grey).unwrap(), little);
        assert_eq!(read(WORDS, BlockShape { big: true, ..grey }).unwrap(), big);
    }

    #[test]
    fn damage_and_other_shapes_are_errors() {
        for shape in [
            BlockShape {
                size: Size::new(4, 5),
                ..SHAPE
            },
            BlockShape { channels: 4, ..SHAPE },
        ] {
            assert!(matches!(read(BYTES, shape), Err(Error::Corrupt(_))), "{shape:?}");
        }
        assert!(matches!(
            read(BYTES, BlockShape { bits: 32, ..SHAPE }),
            Err(Error::Unsupported(_))
        ));
        for len in 0..BYTES.len() / 2 {
            assert!(read(&BYTES[..len], SHAPE).is_err());
        }
        for at in 0..BYTES.len() {
            let mut wrong = BYTES.to_vec();
            wrong[at] ^= 0x41;
            let _ = read(&wrong, SHAPE);
        }
    }
}
