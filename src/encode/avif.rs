//! AVIF output, if libavif was available at build time.

use crate::encode::Tags;
use crate::error::Result;
use crate::raster::Picture;

/// Encodes every layout; `quality` 0–100, −1 lossless.
#[cfg(avif)]
pub fn encode(picture: &Picture, quality: i16, tags: &Tags) -> Result<Vec<u8>> {
    let xmp = tags.xmp.map(crate::encode::upright).unwrap_or_default();
    let extras = crate::codec::avif::Extras {
        icc: tags.icc.unwrap_or_default(),
        exif: &crate::encode::ifd::exif(tags)?,
        xmp: &xmp,
    };
    crate::codec::avif::encode(&picture.data, picture.size, picture.layout, quality, extras)
}

/// Always fails: this build has no libavif.
#[cfg(not(avif))]
pub fn encode(_: &Picture, _: i16, _: &Tags) -> Result<Vec<u8>> {
    Err(crate::error::Error::Unsupported(
        "avif output is not built".into(),
    ))
}
