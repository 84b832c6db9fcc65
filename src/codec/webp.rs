//! WebP pictures: a stream in, interleaved 8-bit RGB or RGBA out.
//!
//! Knows no container around the stream. libwebp where it is linked, otherwise a Rust decoder.
//! Source: the WebP container specification and RFC 9649.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;

/// Decodes a picture of exactly `size` into `scratch`, which grows as needed, and returns its
/// `size.w * size.h * channels` bytes. `channels` is 3 (an alpha plane is dropped) or 4 (opaque where there is none;
/// colours not multiplied). `Error::Corrupt` when the stream is damaged or its size another.
pub fn decode<'a>(data: &[u8], size: Size, channels: u8, scratch: &'a mut Vec<u8>) -> Result<&'a mut [u8]> {
    let len = usize::try_from(size.area().saturating_mul(u64::from(channels))).unwrap_or(usize::MAX);
    if !matches!(channels, 3 | 4) {
        return Err(Error::Unsupported(format!(
            "WebP with {channels} channels is not served"
        )));
    }
    match measure(data) {
        Some(found) if found == size => {}
        Some(Size { w, h }) => {
            return Err(Error::Corrupt(format!(
                "WebP picture is {w}x{h}, expected {}x{}",
                size.w, size.h
            )));
        }
        None => return Err(damaged()),
    }
    if scratch.len() < len {
        scratch.resize(len, 0);
    }
    let out = scratch.get_mut(..len).unwrap_or_default();
    paint(data, size, channels, out)?;
    Ok(out)
}

fn damaged() -> Error {
    Error::Corrupt("WebP stream is damaged".into())
}

/// Width and height as the stream's header says; `None` when it is no WebP stream.
#[cfg(feature = "native")]
pub fn measure(data: &[u8]) -> Option<Size> {
    let (mut w, mut h) = (0, 0);
    // SAFETY: the pointer and length are of one live slice, which is only read; both results are live integers.
    #[expect(unsafe_code, reason = "libwebp")]
    let good = unsafe { libwebp_sys::WebPGetInfo(data.as_ptr(), data.len(), &raw mut w, &raw mut h) };
    let size = Size::new(u32::try_from(w).ok()?, u32::try_from(h).ok()?);
    (good != 0).then_some(size)
}

/// `out` is exactly as long as the picture.
#[cfg(feature = "native")]
fn paint(data: &[u8], size: Size, channels: u8, out: &mut [u8]) -> Result<()> {
    let into = if channels == 4 {
        libwebp_sys::WebPDecodeRGBAInto
    } else {
        libwebp_sys::WebPDecodeRGBInto
    };
    let stride = i32::try_from(size.w.saturating_mul(u32::from(channels))).map_err(|_| damaged())?;
    // SAFETY: both pointers go with the lengths of their live slices; the library checks that rows of `stride`
    // bytes fit into `out` before it writes, and writes nowhere else.
    #[expect(unsafe_code, reason = "libwebp")]
    let done = unsafe { into(data.as_ptr(), data.len(), out.as_mut_ptr(), out.len(), stride) };
    if done.is_null() { Err(damaged()) } else { Ok(()) }
}

/// Width and height as the stream's header says; `None` when it is no WebP stream.
#[cfg(not(feature = "native"))]
pub fn measure(data: &[u8]) -> Option<Size> {
    let picture = image_webp::WebPDecoder::new(std::io::Cursor::new(data)).ok()?;
    let (w, h) = picture.dimensions();
    Some(Size::new(w, h))
}

/// `out` is exactly as long as the picture.
#[cfg(not(feature = "native"))]
fn paint(data: &[u8], _: Size, channels: u8, out: &mut [u8]) -> Result<()> {
    let mut picture = image_webp::WebPDecoder::new(std::io::Cursor::new(data)).map_err(|_| damaged())?;
    picture.set_memory_limit(out.len().saturating_mul(4));
    if picture.is_animated() {
        return Err(damaged());
    }
    if picture.has_alpha() == (channels == 4) {
        return picture.read_image(out).map_err(|_| damaged());
    }
    let mut other = vec![0; picture.output_buffer_size().ok_or_else(damaged)?];
    picture.read_image(&mut other).map_err(|_| damaged())?;
    if channels == 4 {
        for (to, [r, g, b]) in out.as_chunks_mut::<4>().0.iter_mut().zip(other.as_chunks().0) {
            *to = [*r, *g, *b, 255];
        }
    } else {
        for (to, [r, g, b, _]) in out.as_chunks_mut::<3>().0.iter_mut().zip(other.as_chunks().0) {
            *to = [*r, *g, *b];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(size: Size, colour: image_webp::ColorType) -> (Vec<u8>, Vec<u8>) {
        let channels = if colour == image_webp::ColorType::Rgba8 {
            4
        } else {
            3
        };
        let samples: Vec<u8> = (0..size.area() * channels)
            .map(|i| (i * 37 % 251) as u8)
            .collect();
        let mut coded = Vec::new();
        image_webp::WebPEncoder::new(&mut coded)
            .encode(&samples, size.w, size.h, colour)
            .unwrap();
        (coded, samples)
    }

    #[test]
    fn a_lossless_picture_comes_back_exactly() {
        let size = Size::new(19, 7);
        let mut scratch = Vec::new();
        let (coded, samples) = picture(size, image_webp::ColorType::Rgb8);
        assert_eq!(measure(&coded), Some(size));
        assert_eq!(decode(&coded, size, 3, &mut scratch).unwrap(), samples);
        let (coded, samples) = picture(size, image_webp::ColorType::Rgba8);
        assert_eq!(decode(&coded, size, 4, &mut scratch).unwrap(), samples);
    }

    #[test]
    fn alpha_is_dropped_or_made_as_asked() {
        let size = Size::new(5, 4);
        let mut scratch = Vec::new();
        let (coded, samples) = picture(size, image_webp::ColorType::Rgb8);
        let rgba = decode(&coded, size, 4, &mut scratch).unwrap();
        assert_eq!(
            &rgba[..8],
            &[
                samples[0], samples[1], samples[2], 255, samples[3], samples[4], samples[5], 255
            ]
        );
        let (coded, samples) = picture(size, image_webp::ColorType::Rgba8);
        let rgb = decode(&coded, size, 3, &mut scratch).unwrap();
        assert_eq!(
            &rgb[..6],
            &[
                samples[0], samples[1], samples[2], samples[4], samples[5], samples[6]
            ]
        );
    }

    #[test]
    fn damaged_streams_and_other_sizes_are_errors() {
        let size = Size::new(64, 64);
        let mut scratch = Vec::new();
        let (coded, _) = picture(size, image_webp::ColorType::Rgb8);
        assert!(decode(&coded, Size::new(64, 63), 3, &mut scratch).is_err());
        assert!(decode(&coded[..coded.len() / 2], size, 3, &mut scratch).is_err());
        assert!(decode(b"RIFF", size, 3, &mut scratch).is_err());
        assert!(decode(&coded, size, 2, &mut scratch).is_err());
    }
}
