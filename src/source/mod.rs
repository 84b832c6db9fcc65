//! Pyramids: the [`Source`] trait and the header of an image.
//!
//! A source gives stored samples, window by window. It neither scales nor caches.

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

/// Everything that is known of an image without reading a tile.
#[derive(Clone, Debug)]
pub struct Header {
    /// `levels[0]` is full size, the last is the smallest; never empty.
    pub levels: Vec<Level>,
    /// Whether levels come with the compression (JPEG 2000) rather than as pictures of their own.
    pub scalable: bool,
    /// Samples a pixel in what `read` returns.
    pub channels: u8,
    /// Bits of a sample in the file (what `Bits-per-channel` says).
    pub bits: u8,
    /// What the samples are.
    pub kind: SampleFormat,
    /// What the channels mean.
    pub meaning: Meaning,
    /// The format in which tiles lie in the file, where they could be sent as they are.
    pub stored: Option<Format>,
    /// What the file says about its picture.
    pub metadata: Metadata,
    /// Which state of the file this is.
    pub version: Version,
    /// What it is one of.
    pub set: Set,
    /// How it is stored: the value of the Orientation tag (TIFF 6.0 p. 36), 1 by default.
    pub orientation: u64,
}

/// The pictures that are shown under one identifier: SDS chooses one of them.
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
    /// What the file calls it.
    pub name: Option<String>,
    /// By what its values are multiplied to be comparable with those of the others.
    pub scale: Option<f64>,
}

impl Header {
    /// The levels that IIP counts: all, but of scalable compression only those down to the first that fits into one tile,
    /// where iipsrv's pyramid ends.
    pub fn counted(&self) -> &[Level] {
        let last = |level: &Level| level.size.w <= level.tile.w && level.size.h <= level.tile.h;
        let end = self.levels.iter().position(last).filter(|_| self.scalable);
        end.and_then(|end| self.levels.get(..=end))
            .unwrap_or(&self.levels)
    }

    /// The index of the level that IIP counts so, from the smallest.
    pub fn from_smallest(&self, level: u32) -> Option<usize> {
        let above = usize::try_from(level).ok()?.checked_add(1)?;
        self.counted().len().checked_sub(above)
    }

    /// Width and height of level 0.
    pub fn size(&self) -> Size {
        self.levels.first().map_or(Size::new(1, 1), |level| level.size)
    }

    /// What a window takes, where `keep` holds what was made before. Reads nothing and never waits.
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
    /// Quality layers that are wanted at most, of a source that has such; others know nothing of them.
    pub layers: Option<u16>,
}

impl Window {
    /// In the quality that is usual.
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

/// What a source gives of a window.
pub enum Piece {
    /// The samples.
    Pixels(Raster),
    /// The file holds nothing here: all pixels are like this one.
    Vacant(Raster),
}

impl Piece {
    /// All samples of a piece of this size.
    pub fn raster(self, size: Size) -> Raster {
        match self {
            Piece::Pixels(raster) => raster,
            Piece::Vacant(pixel) => window::filled(&pixel, size),
        }
    }
}

/// Takes a piece of a window and its place in the level.
pub type Take<'a> = dyn FnMut(Piece, Rect) -> Result<()> + 'a;

/// Holds a pyramid.
pub trait Source: Send + Sync {
    /// What is known of the image.
    fn header(&self) -> &Header;

    /// Gives the stored samples of a window to `take`, as one piece or in bands from top to bottom: a large one, or a
    /// whole level that can only be had in order ([`Grid::Order`]). What is decoded on the way and others may need is left
    /// with `keep`. `Error::Outside` when there is no such level.
    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()>;

    /// The tile as a complete file of `format`, exactly as stored (tables merged in), if the source can; edge tiles
    /// that are stored larger than the level's edge cannot.
    fn coded(&self, tile: Tile, format: Format) -> Result<Option<Vec<u8>>> {
        let _ = (tile, format);
        Ok(None)
    }
}
