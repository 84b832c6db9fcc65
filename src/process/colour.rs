//! Colour.
use crate::error::Error;
use crate::error::Result;
use crate::raster::Picture;
use crate::raster::Raster;

/// To 8 bits.
pub fn picture(_raster: Raster) -> Result<Picture> {
    Err(Error::Unsupported("depth".into()))
}

/// To grey.
pub fn grey(picture: Picture) -> Picture {
    picture
}

/// To black and white.
pub fn bitonal(picture: Picture, _threshold: u8) -> Picture {
    picture
}

/// Otsu's threshold.
pub fn otsu(_histogram: &[u64; 256]) -> u8 {
    128
}

/// Alpha over a colour.
pub fn flatten(picture: Picture, _background: [u8; 3]) -> Picture {
    picture
}

/// Divides colours by alpha.
pub fn straighten(picture: Picture) -> Picture {
    picture
}
