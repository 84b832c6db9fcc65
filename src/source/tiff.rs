//! TIFF and BigTIFF.
use crate::error::Error;
use crate::error::Result;
use crate::raster::Raster;
use crate::source::Header;
use crate::source::Source;
use crate::source::Tile;
use std::path::Path;

/// Bounds.
#[derive(Default)]
pub struct Limits;

/// An open file.
pub struct Tiff {
    header: Header,
}

impl Tiff {
    /// Opens.
    pub fn open(_path: &Path, _limits: &Limits) -> Result<Tiff> {
        Err(Error::Unsupported("tiff".into()))
    }
}

impl Source for Tiff {
    fn header(&self) -> &Header {
        &self.header
    }

    fn read(&self, _tile: Tile) -> Result<Raster> {
        Err(Error::Unsupported("tiff".into()))
    }
}
