//! Formats that are decoded whole: one level of one tile, decoded by a function of the format.

use crate::error::Error;
use crate::error::Result;
use crate::failures::Failures;
use crate::geometry::Size;
use crate::limits;
use crate::limits::Limits;
use crate::raster::Raster;
use crate::source::Header;
use crate::source::Source;
use crate::source::Take;
use crate::source::Window;
use crate::source::cache::TileCache;
use crate::source::window;
use crate::store::Blob;
use std::sync::Arc;

/// Maximum bytes of a file, and of its samples.
pub const MAX_BYTES: u64 = 512 << 20;

/// Decodes the bytes of a file; its header was read before.
pub type Decode = fn(&[u8], &Header) -> Result<Raster>;

/// An open file.
pub struct Whole {
    file: Arc<dyn Blob>,
    header: Header,
    decode: Decode,
    failed: Failures<()>,
}

impl Whole {
    /// Creates a source with one level of one tile. `TooLarge` when file or samples exceed [`MAX_BYTES`], or when the
    /// samples exceed the limits for a file of this length.
    pub fn new(file: Arc<dyn Blob>, header: Header, decode: Decode, limits: &Limits) -> Result<Whole> {
        let pixel = u64::from(header.channels) * u64::from(header.bits.div_ceil(8));
        let Size { w, h } = header.size();
        let bytes = header.size().area().saturating_mul(pixel);
        let most = limits.in_memory(file.len());
        limits::check("decoded bytes:", "EXPANSION", bytes, most)?;
        if bytes.max(file.len()) > MAX_BYTES {
            return Err(Error::TooLarge(format!(
                "the picture of {w}x{h} pixels can only be decoded as a whole and is too large for that"
            )));
        }
        Ok(Whole {
            file,
            header,
            decode,
            failed: Failures::default(),
        })
    }
}

impl Source for Whole {
    fn header(&self) -> &Header {
        &self.header
    }

    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        window::of_tiles(&self.header.levels, window, keep, take, |_| {
            let raster = self.failed.attempt((), || {
                let bytes = self.file.take(0, self.file.len())?;
                (self.decode)(&bytes, &self.header)
            })?;
            if raster.size != self.header.size() || raster.channels != self.header.channels {
                return Err(Error::Corrupt("the picture is not as its header says".into()));
            }
            Ok(raster)
        })
    }
}
