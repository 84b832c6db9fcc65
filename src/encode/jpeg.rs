//! JPEG output. Metadata is embedded afterwards (`embed`).

use crate::codec::jpeg;
use crate::codec::jpeg::JpegStyle;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Picture;

/// Encodes `Grey` and `Rgb`; `quality` 1–100 (outside it is clamped). `Rgba` is `Unsupported`: the plan lays alpha over a
/// colour before.
pub fn encode(picture: &Picture, quality: i16, style: JpegStyle) -> Result<Vec<u8>> {
    jpeg::encode(&picture.data, picture.size, picture.layout, byte(quality), style)
}

/// A stored stream of this size at another quality; `None` where that needs its pixels, as every other style does than
/// that of the stored ones.
pub fn again(coded: &[u8], size: Size, quality: i16, style: JpegStyle) -> Result<Option<Vec<u8>>> {
    if style != JpegStyle::default() {
        return Ok(None);
    }
    jpeg::again(coded, size, byte(quality))
}

fn byte(quality: i16) -> u8 {
    u8::try_from(quality.clamp(1, 100)).unwrap_or(100)
}
