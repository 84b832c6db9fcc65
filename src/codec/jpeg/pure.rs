//! JPEG by crates in Rust (zune-jpeg, jpeg-encoder), for the build without C libraries.
//!
//! Knows calls, not streams: the caller has read the frame and checked sizes.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Layout;
use jpeg_encoder::ChromaSubsamplingMethod;
use jpeg_encoder::ColorType;
use jpeg_encoder::Encoder;
use jpeg_encoder::SamplingFactor;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// As many scans as the C library allows.
const SCANS: usize = 500;

/// Decodes a complete stream of this size to 1 (grey), 3 (red, green, blue) or 4 channels (as stored). With `strict` it fails: missing data cannot be told from the end.
pub fn decode(stream: &[u8], size: Size, channels: u8, strict: bool) -> Result<Vec<u8>> {
    let broken = || Error::Corrupt("jpeg stream does not decode".into());
    if strict {
        return Err(Error::Corrupt("jpeg stream has no end marker".into()));
    }
    let colour = match channels {
        1 => ColorSpace::Luma,
        4 => ColorSpace::CMYK,
        _ => ColorSpace::RGB,
    };
    let options = DecoderOptions::default()
        .set_max_width(size.w as usize)
        .set_max_height(size.h as usize)
        .set_strict_mode(false)
        .jpeg_set_max_scans(SCANS)
        .jpeg_set_out_colorspace(colour);
    let mut data = vec![0; size.w as usize * size.h as usize * usize::from(channels)];
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(stream), options);
    decoder.decode_headers().map_err(|_| broken())?;
    if decoder.dimensions() != Some((size.w as usize, size.h as usize)) {
        return Err(Error::Corrupt("jpeg stream has two sizes".into()));
    }
    decoder.decode_into(&mut data).map_err(|_| broken())?;
    Ok(data)
}

/// Encodes `pixels`, which the caller has checked to be `size` pixels of `layout` (not `Rgba`).
pub fn encode(pixels: &[u8], size: Size, layout: Layout, quality: u8) -> Result<Vec<u8>> {
    let failed = || Error::Unsupported("jpeg encoding failed".into());
    let width = u16::try_from(size.w).map_err(|_| failed())?;
    let height = u16::try_from(size.h).map_err(|_| failed())?;
    let colour = match layout {
        Layout::Grey => ColorType::Luma,
        _ => ColorType::Rgb,
    };
    let mut stream = Vec::with_capacity(pixels.len() / 8);
    let mut encoder = Encoder::new(&mut stream, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder
        .encode(pixels, width, height, colour)
        .map_err(|_| failed())?;
    Ok(stream)
}
