//! PNG.
use crate::encode::Tags;
use crate::error::Error;
use crate::error::Result;
use crate::raster::Picture;

/// Encodes; deflate level 0–9.
pub fn encode(_picture: &Picture, _level: i16, _tags: &Tags) -> Result<Vec<u8>> {
    Err(Error::Unsupported("png".into()))
}
