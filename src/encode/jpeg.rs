//! JPEG output. Metadata is embedded afterwards (`embed`).

use crate::codec::jpeg;
use crate::codec::jpeg::JpegStyle;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Picture;

/// Encodes `Grey` and `Rgb`; `quality` is clamped to 1–100. `Rgba` is `Unsupported`: the plan composites alpha over a colour
/// before.
pub fn encode(picture: &Picture, quality: i16, style: JpegStyle) -> Result<Vec<u8>> {
    jpeg::encode(&picture.data, picture.size, picture.layout, byte(quality), style)
}

/// Transcodes a stored stream of this size to another quality; `None` if that needs its pixels, as for a style other than the
/// stored one.
pub fn requantise(coded: &[u8], size: Size, quality: i16, style: JpegStyle) -> Result<Option<Vec<u8>>> {
    if style != JpegStyle::default() {
        return Ok(None);
    }
    jpeg::requantise(coded, size, byte(quality))
}

fn byte(quality: i16) -> u8 {
    u8::try_from(quality.clamp(1, 100)).unwrap_or(100)
}
