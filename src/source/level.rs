//! One size of a pyramid: where its pixels come from, and what a window of it costs.

use crate::geometry::Rect;
use crate::geometry::Size;
use crate::source::Tile;
use crate::source::Window;
use crate::source::cache::Part;
use crate::source::cache::Renamed;
use crate::source::cache::TileCache;
use crate::source::orientation::Orientation;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

/// One size of the pyramid.
#[derive(Clone, Debug)]
pub struct Level {
    /// Width and height in pixels, never zero.
    pub size: Size,
    /// Tile size, never zero; tiles at the right and bottom edges are cut to the level.
    pub tile: Size,
    /// How it lies in the file.
    pub grid: Grid,
    /// How a tile is decoded.
    pub decoding: Decoding,
    /// Decoded bytes of which the file holds anything; `u64::MAX` where they were not counted.
    pub present: u64,
    /// What has to be decoded for a window.
    pub parts: Parts,
}

/// How a level lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Tiles that can be shown as they are.
    Tiles,
    /// Strips that must be decoded as wholes.
    Strips,
    /// Rows that can be read in parts.
    Rows,
    /// Strips that are too large for memory and can be decoded from top to bottom: the whole level is given in bands.
    Order,
}

/// How a tile is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// Never in more than a few milliseconds.
    Quick,
    /// On one thread.
    Usual,
    /// By all threads that have nothing else to do: bands side by side would only be in each other's way.
    Parallel,
}

/// What has to be decoded for a window.
#[derive(Clone, Debug)]
pub enum Parts {
    /// Cells of the grid of tiles, each as a whole.
    Tiles,
    /// What the window shows.
    Pixels,
    /// Parts of another level.
    Derived(Arc<Derived>),
    /// Something that serves other windows as well, made for the first.
    Shared(Arc<LevelShared>),
}

/// A level whose windows are read from another one.
#[derive(Debug)]
pub struct Derived {
    /// The other level.
    pub from: Level,
    /// Its number in the header.
    pub index: usize,
    /// Where its pixels lie.
    pub map: Map,
    /// What its parts are called in the cache.
    pub name: fn(Part) -> Option<Part>,
}

/// Where the pixels of a window lie in another level.
#[derive(Clone, Copy, Debug)]
pub enum Map {
    /// The other level is this many times larger.
    Enlarged(u32),
    /// The other level is turned.
    Turned(Orientation),
}

impl Map {
    /// The pixels of a level of this size that a rectangle covers.
    pub fn map(self, rect: Rect, size: Size) -> Rect {
        match self {
            Map::Turned(orientation) => orientation.stored(rect, size),
            Map::Enlarged(factor) => {
                let (x, y) = (rect.x.saturating_mul(factor), rect.y.saturating_mul(factor));
                Rect::new(
                    x,
                    y,
                    rect.w.saturating_mul(factor).min(size.w.saturating_sub(x)),
                    rect.h.saturating_mul(factor).min(size.h.saturating_sub(y)),
                )
            }
        }
    }
}

/// Something that is made once for all windows of a level: the whole level, or an index.
#[derive(Debug)]
pub struct LevelShared {
    /// What the cache calls it, if it is held there.
    pub part: Option<Part>,
    /// What making it takes.
    pub effort: Effort,
    /// What a window takes afterwards.
    pub then: Parts,
    /// What a window takes where it cannot be made.
    pub otherwise: Parts,
    /// How far it is.
    pub progress: Progress,
}

/// How far something shared is.
#[derive(Debug, Default)]
pub struct Progress(AtomicU8);

const DONE: u8 = 1;
const IMPOSSIBLE: u8 = 2;

impl Progress {
    /// It is there, for as long as the image is open.
    pub fn done(&self) {
        self.0.store(DONE, Ordering::Release);
    }

    /// It can never be made, unless it is there already.
    pub fn impossible(&self) {
        let _ = (self.0).compare_exchange(0, IMPOSSIBLE, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether it is there.
    pub fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) == DONE
    }

    fn is_impossible(&self) -> bool {
        self.0.load(Ordering::Acquire) == IMPOSSIBLE
    }
}

impl Level {
    /// A level in tiles, each of which is decoded on its own.
    pub fn tiled(size: Size, tile: Size) -> Level {
        Level {
            size,
            tile,
            grid: Grid::Tiles,
            decoding: Decoding::Usual,
            present: u64::MAX,
            parts: Parts::Tiles,
        }
    }

    /// What a window takes, where `keep` holds what was made before. Reads nothing and never waits.
    pub fn effort(&self, window: Window, keep: &dyn TileCache) -> Effort {
        let effort = self.parts.effort(self, window, keep);
        match (self.decoding, &self.parts) {
            (Decoding::Parallel, Parts::Tiles | Parts::Pixels) => {
                effort.transformed(window.rect.size().area())
            }
            _ => effort,
        }
    }
}

impl Parts {
    fn effort(&self, level: &Level, window: Window, keep: &dyn TileCache) -> Effort {
        match self {
            Parts::Tiles => of_tiles(level, window, keep),
            Parts::Pixels => Effort::of(in_rows(window.rect.size())),
            Parts::Derived(derived) => {
                let Derived {
                    from,
                    index,
                    map,
                    name,
                } = &**derived;
                let rect = map.map(window.rect, from.size);
                let window = Window {
                    level: *index,
                    rect,
                    ..window
                };
                from.effort(window, &Renamed { keep, name })
            }
            Parts::Shared(shared) => {
                let is_held = || shared.part.is_some_and(|part| keep.holds(part));
                if shared.progress.is_impossible() {
                    shared.otherwise.effort(level, window, keep)
                } else if shared.progress.is_done() || is_held() {
                    shared.then.effort(level, window, keep)
                } else {
                    shared.effort
                }
            }
        }
    }
}

/// Bytes that a sample takes in a wavelet transform: a coefficient, a number, half as much of smaller resolutions.
const TRANSFORM: u64 = 12;

/// Rows of fewer pixels cost as much as rows of this many: each is a read, or an edge of code-blocks.
const NARROW: u32 = 64;

/// Pixels of an area that costs as much, in rows that are not narrower than `NARROW`.
pub fn in_rows(size: Size) -> u64 {
    u64::from(size.w.max(NARROW)) * u64::from(size.h)
}

/// Tiles of a window that are looked for where they may be held.
const LOOKS: u64 = 4;

/// The pixels of the tiles that a window touches, but for few that are held.
fn of_tiles(level: &Level, window: Window, keep: &dyn TileCache) -> Effort {
    let (rect, grid) = (window.rect, level.tile);
    let end = |edge: u64, side: u32| u32::try_from(edge.div_ceil(u64::from(side))).unwrap_or(u32::MAX);
    let (cols, rows) = (
        rect.x / grid.w..end(rect.right(), grid.w),
        rect.y / grid.h..end(rect.bottom(), grid.h),
    );
    let tiles = cols.len() as u64 * rows.len() as u64;
    let all = tiles.saturating_mul(grid.area()).min(in_rows(level.size));
    if tiles > LOOKS || all <= Effort::LITTLE {
        return Effort::of(all);
    }
    let cells = rows.flat_map(|row| cols.clone().map(move |col| (col, row)));
    let missing = cells.filter(|(col, row)| {
        let tile = Tile {
            level: window.level,
            col: *col,
            row: *row,
        };
        !keep.holds(Part::Tile(tile))
    });
    let pixels = missing.filter_map(|(col, row)| Some(Rect::cell(level.size, grid, col, row)?.size().area()));
    Effort::of(pixels.sum())
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
    pub const PIECES: u64 = 1 << 23;

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

    /// The same where a window of `area` pixels goes through a transform: coefficients, and what is made of them, are in
    /// memory besides its samples, of large windows some rows at a time.
    fn transformed(self, area: u64) -> Effort {
        let held = self.held.max(area.min(Effort::PIECES) * TRANSFORM);
        Effort { held, ..self }
    }

    /// The same where it is decoded in tiles or strips of `area` pixels.
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
