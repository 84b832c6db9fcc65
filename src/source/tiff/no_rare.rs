//! Replaces `rare` in a build without that feature, where `Compression::of` rejects these schemes.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Samples;
use crate::source::tiff::layout::BlockLayout;

/// Always `Error::Unsupported`.
pub fn decode(layout: &BlockLayout, _: &mut [u8], _: Size, _: Size, _: &mut Vec<u8>) -> Result<Samples> {
    Err(Error::Unsupported(format!(
        "{:?} is not built in",
        layout.compression
    )))
}
