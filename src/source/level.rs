//! A level of a pyramid: the origin of its pixels, and the cost of a window.

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

/// A level of the pyramid.
#[derive(Clone, Debug)]
pub struct Level {
    /// Width and height in pixels, never zero.
    pub size: Size,
    /// Tile size, never zero; tiles at the right and bottom edges are clipped to the level.
    pub tile: Size,
    /// Its organisation in the file.
    pub grid: Grid,
    /// The decoding cost of a tile.
    pub decoding: Decoding,
    /// Decoded bytes of the parts present in the file; `u64::MAX` if they were not counted.
    pub present: u64,
    /// The parts to decode for a window.
    pub parts: Parts,
}

/// The organisation of a level in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Tiles that can be served directly.
    Tiles,
    /// Strips that must be decoded as a whole.
    Strips,
    /// Rows that can be read in parts.
    Rows,
    /// Strips that are too large for memory and can be decoded from top to bottom: the whole level is read in bands.
    Order,
}

/// The decoding cost of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// At most a few milliseconds.
    Quick,
    /// On one thread.
    Usual,
    /// On all idle threads: concurrent bands would only compete.
    Parallel,
}

/// The parts to decode for a window.
#[derive(Clone, Debug)]
pub enum Parts {
    /// Whole tiles.
    Tiles,
    /// The pixels of the window.
    Pixels,
    /// Parts of another level.
    Derived(Arc<Derived>),
    /// Something shared by all windows, made for the first.
    Shared(Arc<LevelShared>),
}

/// A level whose windows are read from another one.
#[derive(Debug)]
pub struct Derived {
    /// The other level.
    pub from: Level,
    /// Its number in the header.
    pub index: usize,
    /// The position of its pixels there.
    pub map: Map,
    /// The cache keys of its parts.
    pub name: fn(Part) -> Option<Part>,
}

/// Maps a window to another level.
#[derive(Clone, Copy, Debug)]
pub enum Map {
    /// The other level is this many times larger.
    Enlarged(u32),
    /// The other level is rotated.
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
    /// Its cache key, if it is cached.
    pub part: Option<Part>,
    /// The effort of making it from what is there.
    pub effort: Effort,
    /// The parts it is made from, if these may have to be made before.
    pub base: Option<Parts>,
    /// The parts for a window afterwards.
    pub then: Parts,
    /// The parts for a window if it cannot be made.
    pub otherwise: Parts,
    /// Its progress.
    pub progress: Progress,
}

/// The progress of something shared.
#[derive(Debug, Default)]
pub struct Progress(AtomicU8);

const DONE: u8 = 1;
const IMPOSSIBLE: u8 = 2;

impl Progress {
    /// Marks it as available for as long as the image is open.
    pub fn done(&self) {
        self.0.store(DONE, Ordering::Release);
    }

    /// Marks it as impossible, unless it is available already.
    pub fn impossible(&self) {
        let _ = (self.0).compare_exchange(0, IMPOSSIBLE, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether it is available.
    pub fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) == DONE
    }

    fn is_impossible(&self) -> bool {
        self.0.load(Ordering::Acquire) == IMPOSSIBLE
    }
}

impl Level {
    /// A level in tiles, each of which is decoded separately.
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

    /// The effort of a window, if `keep` has cached what was made before. Never reads or waits.
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
                    let whole = Window::new(window.level, Rect::of(level.size));
                    let base = (shared.base.as_ref()).map(|base| base.effort(level, whole, keep));
                    base.map_or(shared.effort, |base| shared.effort.after(base))
                }
            }
        }
    }
}

/// Bytes per sample in a wavelet transform: a coefficient, a number, and half as much for smaller resolutions.
const TRANSFORM: u64 = 12;

/// Rows of fewer pixels cost as much as rows of this many: each is a read, or an edge of code-blocks.
pub const NARROW: u32 = 64;

/// Pixels of an area with the same cost, in rows of at least `NARROW`.
pub fn in_rows(size: Size) -> u64 {
    u64::from(size.w.max(NARROW)) * u64::from(size.h)
}

/// Tiles of a window that are looked up in the cache.
const LOOKS: u64 = 4;

/// The pixels of the tiles that a window touches, minus those of the first few if cached.
fn of_tiles(level: &Level, window: Window, keep: &dyn TileCache) -> Effort {
    let (rect, grid) = (window.rect, level.tile);
    let (cols, rows) = rect.cells(grid);
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

/// The effort of decoding a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Approximate pixels to decode.
    pub pixels: u64,
    /// The most pixels in memory at the same time.
    pub held: u64,
    /// Whether most of it is for something shared by all windows of the level: the whole level, or an index.
    /// Concurrent requests would wait for it.
    pub shared: bool,
}

impl Effort {
    /// Efforts below this are not checked against the cache.
    pub const LITTLE: u64 = 1 << 18;

    /// Approximate pixels in memory at the same time while a whole level is processed.
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
            // shared results are computed in pieces
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

    /// The same where up to `pixels` pixels, among them copies, are in memory.
    pub fn holding(self, pixels: u64) -> Effort {
        let held = self.held.max(self.pixels.saturating_mul(2).min(pixels));
        Effort { held, ..self }
    }

    /// The same where something else is made before, in pieces. The larger counts: of the levels of a pyramid, each has at most
    /// a fourth of the pixels of the one before.
    fn after(self, base: Effort) -> Effort {
        let held = if base.shared { base.held } else { 0 };
        Effort {
            pixels: self.pixels.max(base.pixels),
            held: self.held.max(held),
            ..self
        }
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
