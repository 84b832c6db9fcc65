//! Pyramids: the [`Source`] trait and the header of an image.
//!
//! A source returns stored samples by window. It neither scales nor caches.

pub mod cache;
pub mod derived;
pub mod file_format;
pub mod jp2;
pub mod jpeg;
pub mod level;
pub mod orientation;
pub mod oriented;
pub mod png;
pub mod reduce;
pub mod sequence;
pub mod spool;
pub mod synthetic;
pub mod tiff;
pub mod webp;
pub mod whole;
pub mod window;

use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Format;
use crate::raster::Meaning;
use crate::raster::Metadata;
use crate::raster::Raster;
use crate::raster::SampleFormat;
use crate::source::cache::TileCache;
pub use crate::source::file_format::open;
pub use crate::source::level::Decoding;
pub use crate::source::level::Effort;
pub use crate::source::level::Grid;
pub use crate::source::level::Level;
use crate::store::Version;

/// Properties of an image that are known without reading a tile.
#[derive(Clone, Debug)]
pub struct Header {
    /// `levels[0]` is full size, the last is the smallest; never empty.
    pub levels: Vec<Level>,
    /// Whether the levels are resolutions of one codestream (JPEG 2000) instead of separate pictures.
    pub scalable: bool,
    /// Samples per pixel returned by `read`.
    pub channels: u8,
    /// Bits per sample in the file; reported as `Bits-per-channel`.
    pub bits: u8,
    /// Type of the samples.
    pub kind: SampleFormat,
    /// Colour space and alpha of the channels.
    pub meaning: Meaning,
    /// Format of the stored tiles, if they can be sent unchanged.
    pub stored: Option<Format>,
    /// Metadata of the file.
    pub metadata: Metadata,
    /// Version of the file.
    pub version: Version,
    /// The set of pictures that it belongs to.
    pub set: Set,
    /// Value of the Orientation tag (TIFF 6.0 p. 36), 1 by default.
    pub orientation: u64,
}

/// The pictures under one identifier; SDS selects one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// Horizontal angles (or wavelengths) of a sequence, ascending; empty for a single picture.
    pub horizontal: Vec<u32>,
    /// Vertical angles of a sequence, ascending; empty for a single picture.
    pub vertical: Vec<u32>,
    /// The pages of a file, in its order; empty for a single picture.
    pub stack: Vec<Page>,
}

/// A page of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Its name in the file.
    pub name: Option<String>,
    /// Factor that makes its values comparable with those of the other pages.
    pub scale: Option<f64>,
}

impl Header {
    /// The levels that IIP counts: all or, with scalable compression, those down to the first that fits into one
    /// tile, where iipsrv's pyramid ends.
    pub fn counted(&self) -> &[Level] {
        let last = |level: &Level| level.size.w <= level.tile.w && level.size.h <= level.tile.h;
        let end = self.levels.iter().position(last).filter(|_| self.scalable);
        end.and_then(|end| self.levels.get(..=end))
            .unwrap_or(&self.levels)
    }

    /// The index of the level of an IIP resolution, which counts from the smallest.
    pub fn from_smallest(&self, resolution: u32) -> Option<usize> {
        let above = usize::try_from(resolution).ok()?.checked_add(1)?;
        self.counted().len().checked_sub(above)
    }

    /// Width and height of level 0.
    pub fn size(&self) -> Size {
        self.levels.first().map_or(Size::new(1, 1), |level| level.size)
    }

    /// The effort of decoding a window; parts cached in `keep` are not counted. Reads nothing and never waits.
    pub fn effort(&self, window: Window, keep: &dyn TileCache) -> Effort {
        let level = self.levels.get(window.level);
        level.map_or(Effort::default(), |level| level.effort(window, keep))
    }
}

/// A cell of a level's grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Index into `Header::levels`.
    pub level: usize,
    /// Column from the left.
    pub col: u32,
    /// Row from the top.
    pub row: u32,
}

impl Tile {
    /// The pixels of the level that the tile covers; `None` when the header has no such tile.
    pub fn rect(self, levels: &[Level]) -> Option<Rect> {
        let level = levels.get(self.level)?;
        Rect::cell(level.size, level.tile, self.col, self.row)
    }
}

/// A rectangle of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Index into `Header::levels`.
    pub level: usize,
    /// Not empty and inside the level.
    pub rect: Rect,
    /// Maximum number of quality layers; `None` for the default. Ignored by sources without layers.
    pub layers: Option<u16>,
}

impl Window {
    /// A window in the default quality.
    pub fn new(level: usize, rect: Rect) -> Window {
        Window {
            level,
            rect,
            layers: None,
        }
    }

    /// The tile whose pixels it covers exactly, if there is one.
    pub fn tile(self, levels: &[Level]) -> Option<Tile> {
        let grid = levels.get(self.level)?.tile;
        let tile = Tile {
            level: self.level,
            col: self.rect.x / grid.w,
            row: self.rect.y / grid.h,
        };
        (tile.rect(levels)? == self.rect).then_some(tile)
    }
}

/// The content of a window or of a part of it.
pub enum Piece {
    /// The samples.
    Pixels(Raster),
    /// The file holds no data here: every pixel equals the one of this raster.
    Vacant(Raster),
}

impl Piece {
    /// The samples of a piece of this size.
    pub fn raster(self, size: Size) -> Raster {
        match self {
            Piece::Pixels(raster) => raster,
            Piece::Vacant(pixel) => window::filled(&pixel, size),
        }
    }
}

/// Receives a piece of a window and its rectangle in the level.
pub type Take<'a> = dyn FnMut(Piece, Rect) -> Result<()> + 'a;

/// An image pyramid.
pub trait Source: Send + Sync {
    /// Properties of the image.
    fn header(&self) -> &Header;

    /// Passes the stored samples of a window to `take`: as one piece, or in bands from top to bottom if the window is
    /// large or is a whole level that can only be decoded in order ([`Grid::Order`]). Decoded parts that other
    /// requests may need are stored in `keep`. `Error::Outside` when there is no such level.
    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()>;

    /// The tile as a complete file of `format`, as stored (with tables merged in); `None` if the source has no such
    /// tile. Edge tiles that are stored larger than the level's edge give `None`.
    fn coded(&self, tile: Tile, format: Format) -> Result<Option<Vec<u8>>> {
        let _ = (tile, format);
        Ok(None)
    }
}
