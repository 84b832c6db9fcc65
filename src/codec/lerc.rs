//! LERC (limited error raster compression) in TIFF: decodes a blob to the bytes of its samples.
//!
//! Masked samples are NaN in floating point and 0 otherwise; if the blob has one channel less than requested, the
//! mask becomes the last channel (libtiff writes alpha this way). Source: the LERC specification by Esri (`doc/` of
//! its repository).

use crate::codec::BlockShape;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::SampleFormat;
use lerc::DataType;
use lerc::Sample;
use lerc::bitmask::BitMask;

/// Decodes a blob of this shape into `out`: `w * h * channels` samples of `bits`, channels interleaved.
///
/// `Error::Corrupt` if the blob is damaged or has another shape; its header is checked before memory is allocated.
pub fn decode(data: &[u8], shape: BlockShape, out: &mut Vec<u8>) -> Result<()> {
    let info = lerc::decode_info(data).map_err(damaged)?;
    let found = Size::new(info.width, info.height);
    let depth = usize::try_from(info.depth).unwrap_or(usize::MAX);
    let masked = depth + 1 == shape.channels;
    if found != shape.size || info.bands > 1 || !(depth == shape.channels || masked) {
        return Err(Error::Corrupt(format!(
            "a LERC blob is {}x{} with {depth} channels in {} bands, expected {}x{} with {}",
            found.w, found.h, info.bands, shape.size.w, shape.size.h, shape.channels
        )));
    }
    out.clear();
    let float = shape.kind == SampleFormat::Float;
    // integers are output as bytes; the caller knows their sign
    match (info.data_type, float, shape.bits) {
        (DataType::Byte, false, 8) => fill(data, shape, depth, 0u8, u8::MAX, out, u8::to_be_bytes),
        (DataType::Char, false, 8) => fill(data, shape, depth, 0i8, i8::MAX, out, i8::to_be_bytes),
        (DataType::UShort, false, 16) => fill(data, shape, depth, 0u16, u16::MAX, out, u16::to_be_bytes),
        (DataType::Short, false, 16) => fill(data, shape, depth, 0i16, i16::MAX, out, i16::to_be_bytes),
        (DataType::UInt, false, 32) => fill(data, shape, depth, 0u32, u32::MAX, out, u32::to_be_bytes),
        (DataType::Int, false, 32) => fill(data, shape, depth, 0i32, i32::MAX, out, i32::to_be_bytes),
        (DataType::Float, true, 32) => fill(data, shape, depth, f32::NAN, 1.0, out, f32::to_be_bytes),
        (DataType::Double, true, 64) => fill(data, shape, depth, f64::NAN, 1.0, out, f64::to_be_bytes),
        (found, ..) => Err(Error::Corrupt(format!(
            "a LERC blob of {found:?} where samples are {:?} of {} bits",
            shape.kind, shape.bits
        ))),
    }
}

fn damaged(error: lerc::LercError) -> Error {
    Error::Corrupt(format!("a LERC blob is damaged: {error}"))
}

/// Samples as bytes: `none` where masked out, `opaque` in a channel made from the mask.
fn fill<T: Sample, const N: usize>(
    data: &[u8],
    shape: BlockShape,
    depth: usize,
    none: T,
    opaque: T,
    out: &mut Vec<u8>,
    bytes: impl Fn(T) -> [u8; N],
) -> Result<()> {
    let pixels = usize::try_from(shape.size.area()).unwrap_or(usize::MAX);
    let mut samples = vec![none; pixels.saturating_mul(depth)];
    let result = lerc::decode_into(data, &mut samples).map_err(damaged)?;
    let mask = result.valid_masks.first().filter(|mask| !mask.is_all_valid());
    let valid = |pixel: usize| mask.is_none_or(|mask: &BitMask| mask.is_valid(pixel));
    let ordered = |value: T| shape.ordered(bytes(value));
    out.reserve(pixels.saturating_mul(shape.channels).saturating_mul(N));
    for (number, pixel) in samples.chunks_exact(depth.max(1)).enumerate() {
        let valid = valid(number);
        for value in pixel {
            out.extend_from_slice(&ordered(if valid { *value } else { none }));
        }
        if depth < shape.channels {
            out.extend_from_slice(&ordered(if valid { opaque } else { T::default() }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lerc::Image;
    use lerc::Precision;
    use lerc::SampleData;

    const SHAPE: BlockShape = BlockShape {
        size: Size::new(5, 4),
        channels: 1,
        bits: 16,
        kind: SampleFormat::Signed,
        big: false,
    };

    fn read(data: &[u8], shape: BlockShape) -> Result<Vec<u8>> {
        let mut out = vec![9; 3];
        decode(data, shape, &mut out).map(|()| out)
    }

    #[test]
    fn samples_come_back_in_either_order_of_bytes() {
        let values: Vec<i16> = (0..20).map(|n| n * 300 - 2000).collect();
        let image = Image::from_pixels(5, 4, values.clone()).unwrap();
        let blob = lerc::encode(&image, Precision::Lossless).unwrap();
        let little: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(read(&blob, SHAPE).unwrap(), little);
        assert_eq!(read(&blob, BlockShape { big: true, ..SHAPE }).unwrap(), big);
    }

    #[test]
    fn masked_pixels_are_nan_or_transparent() {
        let mut mask = BitMask::from_bytes(vec![0xff; 3], 20);
        mask.set_invalid(3);
        let image = |data, data_type, depth| Image {
            width: 5,
            height: 4,
            depth,
            data_type,
            valid_masks: vec![mask.clone()],
            data,
            ..Image::default()
        };
        let floats = image(SampleData::F32(vec![1.5; 20]), DataType::Float, 1);
        let blob = lerc::encode(&floats, Precision::Lossless).unwrap();
        let shape = BlockShape {
            bits: 32,
            kind: SampleFormat::Float,
            ..SHAPE
        };
        let got = read(&blob, shape).unwrap();
        let value = |at: usize| f32::from_le_bytes(got[at * 4..at * 4 + 4].try_into().unwrap());
        assert!(value(3).is_nan());
        assert_eq!((value(2), value(4)), (1.5, 1.5));

        let bytes = image(SampleData::U8((0..60).collect()), DataType::Byte, 3);
        let blob = lerc::encode(&bytes, Precision::Lossless).unwrap();
        let shape = BlockShape {
            bits: 8,
            kind: SampleFormat::Unsigned,
            channels: 4,
            ..SHAPE
        };
        let got = read(&blob, shape).unwrap();
        assert_eq!(got[8..20], [6, 7, 8, 255, 0, 0, 0, 0, 12, 13, 14, 255]);
    }

    #[test]
    fn damage_and_other_shapes_are_errors() {
        let image = Image::from_pixels(5, 4, vec![7i16; 20]).unwrap();
        let blob = lerc::encode(&image, Precision::Lossless).unwrap();
        for shape in [
            BlockShape {
                size: Size::new(4, 5),
                ..SHAPE
            },
            BlockShape { channels: 3, ..SHAPE },
            BlockShape {
                kind: SampleFormat::Float,
                ..SHAPE
            },
            BlockShape { bits: 32, ..SHAPE },
        ] {
            assert!(matches!(read(&blob, shape), Err(Error::Corrupt(_))), "{shape:?}");
        }
        for len in 0..blob.len() {
            assert!(read(&blob[..len], SHAPE).is_err());
        }
        for at in 0..blob.len() {
            let mut wrong = blob.clone();
            wrong[at] ^= 0x41;
            let _ = read(&wrong, SHAPE);
        }
    }
}
