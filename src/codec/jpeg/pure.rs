//! JPEG by Rust crates (zune-jpeg, jpeg-encoder), for the build without C libraries.
//!
//! The caller has parsed the frame and checked sizes.

use crate::codec::jpeg::JpegStyle;
use crate::codec::jpeg::MAX_SCANS;
use crate::codec::jpeg::Sampling;
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

/// Whether [`decode`] accepts separate tables.
pub const ACCEPTS_TABLES: bool = false;

/// Whether [`decode`] supports arithmetic coding.
pub const SUPPORTS_ARITHMETIC: bool = false;

/// Decodes a complete stream of this size to 1 (grey), 3 (red, green, blue) or 4 channels (as stored, YCCK as CMYK).
/// `strict` always fails: the decoder does not report truncation.
pub fn decode(
    _tables: Option<&[u8]>,
    stream: &[u8],
    size: Size,
    channels: u8,
    strict: bool,
) -> Result<Vec<u8>> {
    let undecodable = || Error::Corrupt("jpeg stream does not decode".into());
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
        .jpeg_set_max_scans(usize::try_from(MAX_SCANS).unwrap_or(usize::MAX))
        .jpeg_set_out_colorspace(colour);
    let mut data = vec![0; size.w as usize * size.h as usize * usize::from(channels)];
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(stream), options);
    decoder.decode_headers().map_err(|_| undecodable())?;
    if decoder.dimensions() != Some((size.w as usize, size.h as usize)) {
        return Err(Error::Corrupt(
            "jpeg decoder and header disagree on the size".into(),
        ));
    }
    let ycck = decoder.input_colorspace() == Some(ColorSpace::YCCK);
    if ycck {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::YCCK));
    }
    decoder.decode_into(&mut data).map_err(|_| undecodable())?;
    if ycck {
        cmyk(&mut data);
    }
    Ok(data)
}

/// Converts YCCK to CMYK in place: cyan, magenta and yellow are the complements of red, green and blue (T.872 §6.1,
/// JFIF 1.02 p. 4).
fn cmyk(samples: &mut [u8]) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within 0 and 255"
    )]
    let complement = |value: f32| (255.0 - value + 0.5).clamp(0.0, 255.0) as u8;
    for [y, b, r, _] in samples.as_chunks_mut::<4>().0 {
        let (luma, blue, red) = (f32::from(*y), f32::from(*b) - 128.0, f32::from(*r) - 128.0);
        *y = complement(luma + 1.402 * red);
        *b = complement(luma - 0.344_136 * blue - 0.714_136 * red);
        *r = complement(luma + 1.772 * blue);
    }
}

/// Encodes `pixels`, which the caller has checked to be `size` pixels of `layout` (not `Rgba`).
pub fn encode(pixels: &[u8], size: Size, layout: Layout, quality: u8, style: JpegStyle) -> Result<Vec<u8>> {
    let failed = || Error::Unsupported("jpeg encoding failed".into());
    let width = u16::try_from(size.w).map_err(|_| failed())?;
    let height = u16::try_from(size.h).map_err(|_| failed())?;
    let colour = match layout {
        Layout::Grey => ColorType::Luma,
        _ => ColorType::Rgb,
    };
    let mut stream = Vec::with_capacity(pixels.len() / 8);
    let mut encoder = Encoder::new(&mut stream, quality);
    encoder.set_sampling_factor(match style.sampling {
        Sampling::Yuv420 => SamplingFactor::F_2_2,
        Sampling::Yuv422 => SamplingFactor::F_2_1,
        Sampling::Yuv444 => SamplingFactor::F_1_1,
    });
    encoder.set_progressive(style.progressive);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder
        .encode(pixels, width, height, colour)
        .map_err(|_| failed())?;
    Ok(stream)
}

/// Always `None`: the crates do not expose planes, so a stream is re-encoded from its pixels.
pub fn requantise(_stream: &[u8], _size: Size, _quality: u8) -> Result<Option<Vec<u8>>> {
    Ok(None)
}
