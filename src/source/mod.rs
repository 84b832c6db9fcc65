//! Pyramids: the [`Source`] trait and the header of an image.
//!
//! A source gives stored samples tile by tile. It neither scales nor caches.

pub mod jp2;
pub mod jpeg;
pub mod kind;
pub mod made;
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

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Format;
use crate::raster::Kind;
use crate::raster::Meaning;
use crate::raster::Metadata;
use crate::raster::Raster;
pub use crate::source::kind::open;
use crate::source::window::NoCache;
use crate::source::window::TileCache;
use crate::store::Version;

/// One size of the pyramid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Width and height in pixels, never zero.
    pub size: Size,
    /// Tile size, never zero; tiles at the right and bottom edges are cut to the level.
    pub tile: Size,
}

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
    pub kind: Kind,
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

/// What has to be decoded for a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// In pixels, about.
    pub pixels: u64,
    /// Pixels that are in memory at the same time meanwhile, at most.
    pub held: u64,
    /// Whether most of it is for something that is kept and serves other windows of the level as well: the whole level, or
    /// an index. Who comes meanwhile would wait for it.
    pub shared: bool,
}

impl Effort {
    /// Not worth a look at what is held already.
    pub const LITTLE: u64 = 1 << 18;

    /// Pixels of a level that are in memory at the same time while it is gone through as a whole, about.
    const PIECES: u64 = 1 << 23;

    /// For one window only.
    pub fn of(pixels: u64) -> Effort {
        Effort {
            pixels,
            held: pixels.min(1 << 28),
            shared: false,
        }
    }

    /// For all windows of a level.
    pub fn shared(pixels: u64) -> Effort {
        Effort {
            pixels,
            // what is kept for others is gone through in pieces
            held: pixels.min(Effort::PIECES),
            shared: true,
        }
    }

    /// The same where it is decoded in tiles or strips of so many pixels.
    pub fn of_tiles(self, area: u64) -> Effort {
        // and a copy
        let held = self.held.max(self.pixels.min(area).saturating_mul(2));
        if area > Effort::PIECES {
            Effort { held, ..self }
        } else {
            self
        }
    }
}

/// Holds a pyramid.
pub trait Source: Send + Sync {
    /// What is known of the image.
    fn header(&self) -> &Header;

    /// The stored samples of one tile, cut to the level, no scaling. `Error::Outside` when there is no such tile.
    fn read(&self, tile: Tile) -> Result<Raster>;

    /// Reads a tile; a source that decodes more than the tile leaves the rest with `keep`.
    fn read_keeping(&self, tile: Tile, keep: &dyn TileCache) -> Result<Raster> {
        let _ = keep;
        self.read(tile)
    }

    /// The stored samples of a window, which lies inside its level; tiles on the way are left with `keep`.
    fn window(&self, window: Window, keep: &dyn TileCache) -> Result<Raster> {
        window::of_tiles(self, window, keep)
    }

    /// All of a level whose parts cannot be had alone, in bands from top to bottom with their places, decoded once.
    fn in_order(&self, level: usize, take: &mut dyn FnMut(Raster, Rect) -> Result<()>) -> Result<()> {
        let size = self.header().levels.get(level).map(|level| level.size);
        let rect = size
            .map(Rect::of)
            .ok_or_else(|| Error::Outside("no such level".into()))?;
        take(self.window(Window::new(level, rect), &NoCache)?, rect)
    }

    /// What a window takes, where `keep` holds what was made before. Reads nothing and waits for nobody.
    fn effort(&self, window: Window, keep: &dyn TileCache) -> Effort {
        window::effort(self, window, keep)
    }

    /// Decoded bytes of a level of which the file holds anything; `u64::MAX` when that is not known without reading it.
    fn present(&self, level: usize) -> u64 {
        let _ = level;
        u64::MAX
    }

    /// What a window shows of which the file holds nothing at all, as a raster of another size, which has one value
    /// everywhere; `None` when it may hold something.
    fn vacant(&self, window: Window, size: Size) -> Option<Raster> {
        let _ = (window, size);
        None
    }

    /// Whether a tile of this level never takes more than a few milliseconds.
    fn is_quick(&self, level: usize) -> bool {
        let _ = level;
        false
    }

    /// Whether a window of this level is decoded by all threads that have nothing else to do, so that bands of it side
    /// by side would only be in each other's way.
    fn shares_work(&self, level: usize) -> bool {
        let _ = level;
        false
    }

    /// The tile as a complete file of `format`, exactly as stored (tables merged in), if the source can; edge tiles
    /// that are stored larger than the level's edge cannot.
    fn coded(&self, tile: Tile, format: Format) -> Result<Option<Vec<u8>>> {
        let _ = (tile, format);
        Ok(None)
    }
}
