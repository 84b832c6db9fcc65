//! Resampling.
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Picture;

/// A rectangle in 1/65536 of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Crop {
    /// Left.
    pub x: i64,
    /// Top.
    pub y: i64,
    /// Width, > 0.
    pub w: i64,
    /// Height, > 0.
    pub h: i64,
}

/// The kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Linear between pixels; a triangle as wide as the reduction when shrinking.
    Bilinear,
}

/// Resamples.
pub fn resize(_picture: &Picture, _crop: Crop, _to: Size, _filter: Filter) -> Result<Picture> {
    Err(Error::Unsupported("resize".into()))
}

/// Cuts or repeats edges.
pub fn fit(picture: &Picture, _size: Size) -> Picture {
    picture.clone()
}
