//! JPEG output: the picture's part of it; tags are put in afterwards (`embed`).

use crate::codec::jpeg;
use crate::error::Result;
use crate::raster::Picture;

/// Encodes `Grey` and `Rgb`; `quality` 1–100 (outside it is clamped). `Rgba` is `Unsupported`: the plan lays alpha over a
/// colour before.
pub fn encode(picture: &Picture, quality: i16) -> Result<Vec<u8>> {
    let quality = u8::try_from(quality.clamp(1, 100)).unwrap_or(100);
    jpeg::encode(&picture.data, picture.size, picture.layout, quality)
}
