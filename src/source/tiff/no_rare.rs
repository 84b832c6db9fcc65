//! Stands in for `rare` in a build without it, where `Compression::of` refuses these schemes.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Samples;
use crate::source::tiff::layout::BlockLayout;

/// `Error::Unsupported`.
pub fn decode(layout: &BlockLayout, _: &mut [u8], _: Size, _: Size, _: &mut Vec<u8>) -> Result<Samples> {
    Err(Error::Unsupported(format!(
        "{:?} is not built in",
        layout.compression
    )))
}
