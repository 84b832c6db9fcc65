//! From a [`Picture`] to the bytes of a file, with what is embedded in it.
//!
//! Knows formats, not where the picture came from.

pub mod embed;
pub mod jpeg;
pub mod png;

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Density;
use crate::raster::Format;
use crate::raster::Picture;

/// A format with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// The file format.
    pub format: Format,
    /// Quality or level in the format's own scale (JPEG 1–100, PNG deflate level 0–9), already clamped.
    pub quality: i16,
    /// Whether the client asked for the quality: then a stored tile may not be passed through as it is.
    pub asked: bool,
}

/// What is embedded in a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tags<'a> {
    /// ICC profile of the pixels.
    pub icc: Option<&'a [u8]>,
    /// Resolution of the view, pixels per metre.
    pub density: Option<Density>,
}

/// What [`encode`] can make, the best known first.
pub const BUILT: [Format; 2] = [Format::Jpeg, Format::Png];

/// Encodes a picture. JPEG takes `Grey` and `Rgb`; PNG takes every layout.
pub fn encode(picture: &Picture, output: Output, tags: &Tags) -> Result<Vec<u8>> {
    match output.format {
        Format::Jpeg => embed::jpeg(jpeg::encode(picture, output.quality)?, tags),
        Format::Png => png::encode(picture, output.quality, tags),
        other => Err(Error::Unsupported(format!(
            "{} output is not built yet",
            other.suffix()
        ))),
    }
}

/// A complete file that was stored by someone else, at the asked quality: as it is when none was asked. `None` when that
/// takes its pixels.
pub fn again(coded: Vec<u8>, size: Size, output: Output) -> Result<Option<Vec<u8>>> {
    match output.format {
        _ if !output.asked => Ok(Some(coded)),
        Format::Jpeg => jpeg::again(&coded, size, output.quality),
        _ => Ok(None),
    }
}

/// Puts the tags into a complete file of `format` that was stored by someone else.
pub fn tag(coded: Vec<u8>, format: Format, tags: &Tags) -> Result<Vec<u8>> {
    match format {
        Format::Jpeg => embed::jpeg(coded, tags),
        Format::Webp => embed::webp(coded, tags),
        _ => Ok(coded),
    }
}
