//! WebP pictures: decodes a stream to interleaved 8-bit RGB or RGBA, and encodes.
//!
//! Uses libwebp if linked, otherwise Rust, which encodes lossless only. Source: the WebP container specification and
//! RFC 9649.

use crate::codec::check_pixels;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Layout;
use crate::uninit::UninitBuf;
#[cfg(feature = "native")]
use crate::work;

/// Decodes a picture of exactly `size` into the buffer, which has space for its `size.w * size.h * channels` bytes.
/// `channels` is 3 (alpha is dropped) or 4 (opaque without alpha; straight alpha). `Error::Corrupt` if the stream is
/// damaged or has another size.
pub fn decode(data: &[u8], size: Size, channels: u8, buf: &mut UninitBuf) -> Result<()> {
    let len = usize::try_from(size.area().saturating_mul(u64::from(channels))).unwrap_or(usize::MAX);
    if !matches!(channels, 3 | 4) {
        return Err(Error::Unsupported(format!(
            "WebP with {channels} channels is not supported"
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
    if buf.left() < len {
        return Err(damaged());
    }
    paint(data, size, channels, len, buf)
}

fn damaged() -> Error {
    Error::Corrupt("WebP stream is damaged".into())
}

/// Width and height in the stream's header; `None` if it is not a WebP stream.
#[cfg(feature = "native")]
pub fn measure(data: &[u8]) -> Option<Size> {
    let (mut w, mut h) = (0, 0);
    // SAFETY: the pointer and length are those of one live slice, which is only read; both results are live integers.
    #[expect(unsafe_code, reason = "libwebp")]
    let good = unsafe { libwebp_sys::WebPGetInfo(data.as_ptr(), data.len(), &raw mut w, &raw mut h) };
    let size = Size::new(u32::try_from(w).ok()?, u32::try_from(h).ok()?);
    (good != 0).then_some(size)
}

/// Decodes a picture of `len` bytes, for which there is space.
#[cfg(feature = "native")]
fn paint(data: &[u8], size: Size, channels: u8, len: usize, buf: &mut UninitBuf) -> Result<()> {
    let into = if channels == 4 {
        libwebp_sys::WebPDecodeRGBAInto
    } else {
        libwebp_sys::WebPDecodeRGBInto
    };
    let stride = i32::try_from(size.w.saturating_mul(u32::from(channels))).map_err(|_| damaged())?;
    let write = |out, _| {
        // SAFETY: both pointers are passed with the lengths of live memory; the library checks that rows of `stride`
        // bytes fit into the second before it writes, and writes nowhere else.
        #[expect(unsafe_code, reason = "libwebp")]
        let done = unsafe { into(data.as_ptr(), data.len(), out, len, stride) };
        if done.is_null() { Err(damaged()) } else { Ok(len) }
    };
    // SAFETY: a picture of the measured size has `len` bytes in rows without padding, and on success the library has
    // written all of them.
    #[expect(unsafe_code, reason = "libwebp")]
    unsafe {
        buf.raw(write)
    }
}

/// Width and height in the stream's header; `None` if it is not a WebP stream.
#[cfg(not(feature = "native"))]
pub fn measure(data: &[u8]) -> Option<Size> {
    let picture = image_webp::WebPDecoder::new(std::io::Cursor::new(data)).ok()?;
    let (w, h) = picture.dimensions();
    Some(Size::new(w, h))
}

/// Decodes a picture of `len` bytes, for which there is space.
#[cfg(not(feature = "native"))]
fn paint(data: &[u8], _: Size, channels: u8, len: usize, buf: &mut UninitBuf) -> Result<()> {
    buf.by(|out| {
        let out = out.get_mut(..len).unwrap_or_default();
        paint_into(data, channels, out).map(|()| len)
    })
}

/// `out` has exactly the length of the picture.
#[cfg(not(feature = "native"))]
fn paint_into(data: &[u8], channels: u8, out: &mut [u8]) -> Result<()> {
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

/// The longest side of a WebP picture (RFC 9649 §2).
const LONGEST: u32 = 16_383;

/// Encodes `size.w * size.h` pixels of any layout; grey is written as colour, alpha is kept. `quality` is 0–100 in
/// libwebp's scale (clamped), below 0 for lossless; the Rust build is always lossless. `TooLarge` for a side over
/// 16383. Deterministic within one build.
pub fn encode(pixels: &[u8], size: Size, layout: Layout, quality: i16) -> Result<Vec<u8>> {
    if size.w > LONGEST || size.h > LONGEST {
        return Err(Error::TooLarge(format!(
            "webp holds {LONGEST} pixels a side, got {}x{}",
            size.w, size.h
        )));
    }
    check_pixels(pixels, size, layout)?;
    if quality < 0 || !LOSSY {
        return lossless(pixels, size, layout);
    }
    match layout {
        Layout::Grey => {
            let rgb: Vec<u8> = pixels.iter().flat_map(|&v| [v, v, v]).collect();
            lossy(&rgb, size, false, quality)
        }
        Layout::Rgb => lossy(pixels, size, false, quality),
        Layout::Rgba => lossy(pixels, size, true, quality),
    }
}

/// Whether lossy encoding is available.
const LOSSY: bool = cfg!(feature = "native");

/// The Rust encoder: a quarter of libwebp's time.
fn lossless(pixels: &[u8], size: Size, layout: Layout) -> Result<Vec<u8>> {
    let colour = match layout {
        Layout::Grey => image_webp::ColorType::L8,
        Layout::Rgb => image_webp::ColorType::Rgb8,
        Layout::Rgba => image_webp::ColorType::Rgba8,
    };
    let mut out = Vec::new();
    image_webp::WebPEncoder::new(&mut out)
        .encode(pixels, size.w, size.h, colour)
        .map_err(|_| Error::Unsupported("webp encoding failed".into()))?;
    Ok(out)
}

/// `pixels` are RGB, or RGBA with `alpha`, and exactly `size`, whose sides are at most `LONGEST`. Ends early when the
/// request is cancelled.
#[cfg(feature = "native")]
fn lossy(pixels: &[u8], size: Size, alpha: bool, quality: i16) -> Result<Vec<u8>> {
    use libwebp_sys as webp;
    let import = if alpha {
        webp::WebPPictureImportRGBA
    } else {
        webp::WebPPictureImportRGB
    };
    let failed = || Error::Unsupported("webp encoding failed".into());
    let side = |pixels: u32| i32::try_from(pixels).map_err(|_| failed());
    let (w, h) = (side(size.w)?, side(size.h)?);
    let stride = if alpha { w * 4 } else { w * 3 };
    let quality = f32::from(quality.clamp(0, 100));
    let preset = webp::WebPPreset::WEBP_PRESET_DEFAULT;
    let config = webp::WebPConfig::new_with_preset(preset, quality).map_err(|()| failed())?;
    let mut picture = webp::WebPPicture::new().map_err(|()| failed())?;
    let mut out: Vec<u8> = Vec::new();
    (picture.width, picture.height) = (w, h);
    picture.writer = Some(write);
    picture.custom_ptr = (&raw mut out).cast();
    picture.progress_hook = Some(goes_on);
    // SAFETY: `pixels` holds `h` rows of `stride` bytes, which are only read; the picture was initialised, its planes are
    // the library's own and are freed once; `out` lives longer than the calls that write to it.
    #[expect(unsafe_code, reason = "libwebp")]
    let done = unsafe {
        let done = import(&raw mut picture, pixels.as_ptr(), stride) != 0
            && webp::WebPEncode(&raw const config, &raw mut picture) != 0;
        webp::WebPPictureFree(&raw mut picture);
        done
    };
    work::check()?;
    if done && !out.is_empty() {
        Ok(out)
    } else {
        Err(failed())
    }
}

/// Takes a piece of the stream.
#[cfg(feature = "native")]
#[expect(unsafe_code, reason = "libwebp")]
unsafe extern "C" fn write(data: *const u8, len: usize, picture: *const libwebp_sys::WebPPicture) -> i32 {
    if len == 0 {
        return 1;
    }
    // SAFETY: the library passes on the picture that `lossy` has made, whose pointer is to a vector that nobody else has,
    // and `len` bytes of its own.
    let (out, data) = unsafe {
        let out = (*picture).custom_ptr.cast::<Vec<u8>>();
        (&mut *out, std::slice::from_raw_parts(data, len))
    };
    let fits = out.try_reserve(len).is_ok();
    if fits {
        out.extend_from_slice(data);
    }
    fits.into()
}

/// Called now and then while a picture is encoded: whether it goes on.
#[cfg(feature = "native")]
extern "C" fn goes_on(_: i32, _: *const libwebp_sys::WebPPicture) -> i32 {
    i32::from(work::lend().is_ok())
}

/// Never called: `LOSSY` is false.
#[cfg(not(feature = "native"))]
fn lossy(pixels: &[u8], size: Size, alpha: bool, _: i16) -> Result<Vec<u8>> {
    let layout = if alpha { Layout::Rgba } else { Layout::Rgb };
    lossless(pixels, size, layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uninit;

    fn decoded(data: &[u8], size: Size, channels: u8) -> Result<Vec<u8>> {
        let len = size.area() as usize * usize::from(channels);
        uninit::filled(len, |buf| decode(data, size, channels, buf))
    }

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
        let (coded, samples) = picture(size, image_webp::ColorType::Rgb8);
        assert_eq!(measure(&coded), Some(size));
        assert_eq!(decoded(&coded, size, 3).unwrap(), samples);
        let (coded, samples) = picture(size, image_webp::ColorType::Rgba8);
        assert_eq!(decoded(&coded, size, 4).unwrap(), samples);
    }

    #[test]
    fn every_layout_comes_back_exactly_without_loss_and_nearly_with_it() {
        let size = Size::new(37, 21);
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            let channels = layout.channels();
            let samples: Vec<u8> = (0..37 * 21 * channels)
                .map(|i| (i / channels * 3 % 200 + i % channels * 9) as u8)
                .collect();
            let wanted: Vec<u8> = match layout {
                Layout::Grey => samples.iter().flat_map(|&v| [v, v, v]).collect(),
                _ => samples.clone(),
            };
            let out = channels.max(3) as u8;
            let exact = encode(&samples, size, layout, -1).unwrap();
            assert_eq!(decoded(&exact, size, out).unwrap(), wanted);
            let near = encode(&samples, size, layout, 90).unwrap();
            let found = decoded(&near, size, out).unwrap();
            let sum: u32 = found
                .iter()
                .zip(&wanted)
                .map(|(a, b)| u32::from(a.abs_diff(*b)))
                .sum();
            assert!(sum / (wanted.len() as u32) < 12, "{layout:?} {sum}");
            let rough = encode(&samples, size, layout, 10).unwrap();
            assert!(!LOSSY || rough.len() < near.len());
        }
        assert!(matches!(
            encode(&[0; 16_384], Size::new(16_384, 1), Layout::Grey, 50),
            Err(Error::TooLarge(_))
        ));
        assert!(encode(&[0; 5], Size::new(2, 3), Layout::Grey, 50).is_err());
    }

    #[test]
    fn alpha_is_dropped_or_added_as_requested() {
        let size = Size::new(5, 4);
        let (coded, samples) = picture(size, image_webp::ColorType::Rgb8);
        let rgba = decoded(&coded, size, 4).unwrap();
        assert_eq!(
            &rgba[..8],
            &[
                samples[0], samples[1], samples[2], 255, samples[3], samples[4], samples[5], 255
            ]
        );
        let (coded, samples) = picture(size, image_webp::ColorType::Rgba8);
        let rgb = decoded(&coded, size, 3).unwrap();
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
        let (coded, _) = picture(size, image_webp::ColorType::Rgb8);
        assert!(decoded(&coded, Size::new(64, 63), 3).is_err());
        assert!(decoded(&coded[..coded.len() / 2], size, 3).is_err());
        assert!(decoded(b"RIFF", size, 3).is_err());
        assert!(decoded(&coded, size, 2).is_err());
    }
}
