//! JPEG.
use crate::error::Error;
use crate::error::Result;
use crate::raster::Picture;

/// Encodes; quality 1–100.
pub fn encode(_picture: &Picture, _quality: i16) -> Result<Vec<u8>> {
    Err(Error::Unsupported("jpeg".into()))
}
