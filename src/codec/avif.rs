//! AVIF pictures by the system's libavif: interleaved 8-bit samples in, a complete file out.
//!
//! The calls are in `avif.c`: libavif's structures differ between its versions. Without the feature `native`, or where
//! the library was not found, there is no AVIF: the encoders in Rust take seconds where this takes a tenth (and minutes
//! to build).

#![expect(unsafe_code, reason = "calls of libavif")]

use crate::codec::check_pixels;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Layout;
use std::ffi::c_int;

/// 10 is libavif's fastest.
const SPEED: c_int = 10;

unsafe extern "C" {
    fn iipsrv_avif_encode(
        pixels: *const u8,
        w: u32,
        h: u32,
        channels: u32,
        quality: c_int,
        speed: c_int,
        icc: *const u8,
        icc_len: usize,
        exif: *const u8,
        exif_len: usize,
        xmp: *const u8,
        xmp_len: usize,
        file: *mut *mut u8,
        len: *mut usize,
    ) -> c_int;
    fn iipsrv_avif_free(file: *mut u8);
}

/// Metadata to embed; each part may be empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    /// ICC profile.
    pub icc: &'a [u8],
    /// EXIF, from its TIFF header on.
    pub exif: &'a [u8],
    /// XMP packet.
    pub xmp: &'a [u8],
}

/// Encodes `size.w * size.h` pixels of any layout: colours as YCbCr 4:2:0, alpha lossless. `quality` is 0–100
/// (clamped), below 0 for lossless. Deterministic for one version of the library.
pub fn encode(pixels: &[u8], size: Size, layout: Layout, quality: i16, extras: Extras) -> Result<Vec<u8>> {
    check_pixels(pixels, size, layout)?;
    // the library counts rows in 32 bits
    if u32::try_from(pixels.len()).is_err() {
        return Err(Error::Corrupt(format!("{} bytes are too many", pixels.len())));
    }
    let (mut file, mut len) = (std::ptr::null_mut(), 0);
    let channels = u32::try_from(layout.channels()).unwrap_or(3);
    // SAFETY: every pointer is passed with the length of its live slice, which is only read, and not at all if empty;
    // `pixels` holds `h` rows of `w` pixels of `channels` bytes; the results are written to live variables.
    let done = unsafe {
        iipsrv_avif_encode(
            pixels.as_ptr(),
            size.w,
            size.h,
            channels,
            quality.clamp(-1, 100).into(),
            SPEED,
            extras.icc.as_ptr(),
            extras.icc.len(),
            extras.exif.as_ptr(),
            extras.exif.len(),
            extras.xmp.as_ptr(),
            extras.xmp.len(),
            &raw mut file,
            &raw mut len,
        )
    };
    if done != 1 || file.is_null() {
        return Err(Error::Unsupported("avif encoding failed".into()));
    }
    // SAFETY: the call returned `len` bytes, to which there is no other reference.
    let out = unsafe { std::slice::from_raw_parts(file, len) }.to_vec();
    // SAFETY: the pointer was returned by the call above and is not used afterwards.
    unsafe { iipsrv_avif_free(file) };
    Ok(out)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;

    #[test]
    fn a_worse_quality_is_smaller_and_the_same_input_gives_the_same_bytes() {
        let size = Size::new(100, 77);
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            let len = size.area() as usize * layout.channels();
            let pixels: Vec<u8> = (0..len).map(|i| (i / 9 + i % 5 * 20) as u8).collect();
            let encode = |quality| encode(&pixels, size, layout, quality, Extras::default()).unwrap();
            let files = [10, 50, 90, -1].map(encode);
            assert_eq!(&files[0][4..12], b"ftypavif");
            assert!(
                files.windows(2).all(|pair| pair[0].len() < pair[1].len()),
                "{layout:?}"
            );
            assert_eq!(files[1], encode(50));
        }
        assert!(encode(&[0; 5], Size::new(2, 3), Layout::Grey, 50, Extras::default()).is_err());
    }
}
