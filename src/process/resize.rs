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

impl Crop {
    /// Width in pixels.
    #[expect(clippy::cast_precision_loss, reason = "at most 2^48")]
    pub fn width(self) -> f64 {
        self.w as f64 / 65536.0
    }

    /// Height in pixels.
    #[expect(clippy::cast_precision_loss, reason = "at most 2^48")]
    pub fn height(self) -> f64 {
        self.h as f64 / 65536.0
    }
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
