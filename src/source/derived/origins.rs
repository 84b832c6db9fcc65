//! Plans derived levels: which levels a pyramid has, the origin of each, its cost, and where it is stored.
//!
//! Arithmetic over a header, without I/O.

use crate::error::Error;
use crate::geometry::Size;
use crate::limits;
use crate::limits::FLOOR;
use crate::limits::Limits;
use crate::raster::SampleFormat;
use crate::source::Effort;
use crate::source::Grid;
use crate::source::Header;
use crate::source::Level;
use crate::source::Window;
use crate::source::level::in_rows;
use crate::source::spool::SpoolDir;
use std::sync::Arc;

/// The tile size of levels without one of their own.
pub const TILE: Size = Size::new(256, 256);

/// A level that takes at most this many decoded bytes per tile is derived tile by tile.
const CHEAP: u64 = 16 << 20;

/// Most decoded bytes per tile if nothing can be kept.
const EXPENSIVE: u64 = 256 << 20;

/// Most decoded bytes of a level that is made as a whole.
const MOST: u64 = 16 << 30;

/// A tiled pyramid whose last level has at most this many pixels is complete, even if that level has several tiles:
/// levels have the same numbers as in iipsrv.
const SMALL: u64 = 1 << 20;

const EXPANDS: LevelOrigin = LevelOrigin::Refused("LIMIT_EXPANSION");

const NO_ROOM: LevelOrigin = LevelOrigin::Refused("CACHE_DIR");

/// The limits of derived levels.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Most bytes of a level that is kept in memory.
    pub level_bytes: u64,
    /// The directory for larger ones.
    pub spool_dir: Option<Arc<SpoolDir>>,
    /// The limits of files.
    pub limits: Limits,
}

/// The origin of a level; the numbers are those of levels of the inner header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelOrigin {
    /// A level of the file, tile by tile.
    Stored(usize),
    /// A level of the file, cut from its strips.
    Cut(usize),
    /// A larger level, reduced tile by tile.
    Reduced { from: usize, factor: u32 },
    /// A larger level or, with factor 1, the strips of its own, as a whole.
    Whole { from: Base, factor: u32, spooled: bool },
    /// A level of the file, decoded from top to bottom into a temporary file.
    Ordered(usize),
    /// Refused: it would exceed the limit of this name.
    Refused(&'static str),
}

impl LevelOrigin {
    /// Whether it needs a temporary file.
    pub fn is_spooled(self) -> bool {
        matches!(
            self,
            LevelOrigin::Whole { spooled: true, .. } | LevelOrigin::Ordered(_)
        )
    }

    /// The level it comes from, among those of the `file` and the larger ones that were `made`.
    pub fn base<'a>(self, file: &'a [Level], made: &'a [Level]) -> Option<&'a Level> {
        match self {
            LevelOrigin::Stored(index)
            | LevelOrigin::Cut(index)
            | LevelOrigin::Ordered(index)
            | LevelOrigin::Whole {
                from: Base::File(index),
                ..
            } => file.get(index),
            LevelOrigin::Reduced { from: index, .. }
            | LevelOrigin::Whole {
                from: Base::Header(index),
                ..
            } => made.get(index),
            LevelOrigin::Refused(_) => None,
        }
    }
}

/// The sizes of a level and of its tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelShape {
    /// Of the level.
    pub size: Size,
    /// Of a tile.
    pub tile: Size,
}

/// The base of a level that is made as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A level of the file.
    File(usize),
    /// A level of the header.
    Header(usize),
}

/// How much of a level of the file may be decoded for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// All of it.
    Whole,
    /// All parts present in the file, which are few; the level must not even be written to disk as a whole.
    Sparse,
    /// No more than the fixed limit for any file: it claims more pixels than its bytes justify.
    Little,
}

/// Bytes of a level at its stored depth; pixels of fewer than 8 bits count a quarter of those of 8.
pub fn stored_bytes(header: &Header, level: usize) -> u64 {
    let size = header.levels.get(level).map(|level| level.size);
    size.map_or(u64::MAX, |size| decoded_bytes(header, in_rows(size)))
}

/// The same for this many pixels.
pub fn decoded_bytes(header: &Header, pixels: u64) -> u64 {
    let bytes = pixels.saturating_mul(pixel_bytes(header));
    if header.bits < 8 { bytes / 4 } else { bytes }
}

/// `Error::Limit` if a window takes more decoding than the size of the file justifies. For a sparse level, only a row
/// of tiles counts: that much empty area is in memory.
///
/// To be called when an answer begins, for the work of all of its pieces. The memory of a single piece is limited by
/// the source that reads it.
pub fn check_worth(header: &Header, window: Window, effort: Effort, limits: &Limits) -> Result<(), Error> {
    let most = limits.in_bands(header.version.bytes());
    let pixels = match header.levels.get(window.level) {
        Some(level) if level.present <= most => {
            u64::from(window.rect.w) * u64::from(window.rect.h.min(level.tile.h))
        }
        _ => effort.pixels,
    };
    let bytes = decoded_bytes(header, pixels);
    limits::check("decoded bytes for a window:", "EXPANSION", bytes, most)
}

/// All levels, the largest first, and their origins. `worth` applies to each level of the file; levels without a
/// value may be decoded fully.
pub fn plan(header: &Header, worth: &[Worth], budget: &Budget) -> Vec<(LevelShape, LevelOrigin)> {
    let base = match header.levels.first() {
        Some(level) if level.grid == Grid::Tiles => level.tile,
        _ => TILE,
    };
    let mut plan = Planning {
        pixel_bytes: pixel_bytes(header),
        file: &header.levels,
        worth,
        budget,
        levels: Vec::new(),
    };
    let mut whole = true;
    for (index, level) in header.levels.iter().enumerate() {
        while let Some(next) = plan.next().filter(|next| is_between(*next, level.size)) {
            whole = false;
            plan.make(next, base);
        }
        plan.store(index, level);
    }
    let last = header.levels.last().map_or(1, |level| level.size.area());
    let tiled = header.levels.last().is_none_or(|level| level.grid == Grid::Tiles);
    if header.levels.len() < 2 || !whole || last > SMALL || !tiled {
        while let Some(next) = plan.next() {
            let size = plan.levels.last().map_or(next, |(level, _)| level.size);
            if size.w <= base.w && size.h <= base.h {
                break;
            }
            plan.make(next, base);
        }
    }
    plan.levels
}

/// Whether a level of size `derived` is missing before one of size `stored`.
fn is_between(derived: Size, stored: Size) -> bool {
    let (derived, stored) = (derived.w.max(derived.h), stored.w.max(stored.h));
    u64::from(derived) * 3 > u64::from(stored) * 4 && derived > stored + 1
}

/// Bytes per pixel of decoded data.
pub fn pixel_bytes(header: &Header) -> u64 {
    let sample = match (header.kind, header.bits) {
        (SampleFormat::Unsigned, 0..=8) => 1,
        (SampleFormat::Unsigned, 9..=16) => 2,
        _ => 4,
    };
    u64::from(header.channels) * sample
}

/// The list of levels under construction.
struct Planning<'a> {
    pixel_bytes: u64,
    file: &'a [Level],
    worth: &'a [Worth],
    budget: &'a Budget,
    levels: Vec<(LevelShape, LevelOrigin)>,
}

impl Planning<'_> {
    /// Half the size of the last level.
    fn next(&self) -> Option<Size> {
        self.levels.last().map(|(level, _)| level.size.halved_up(1))
    }

    /// Adds a level of the file.
    fn store(&mut self, index: usize, level: &Level) {
        let Level { size, tile, grid, .. } = *level;
        if grid == Grid::Tiles {
            self.levels
                .push((LevelShape { size, tile }, LevelOrigin::Stored(index)));
            return;
        }
        let bytes = self.bytes(size);
        if grid == Grid::Order {
            let origin = if self.worth(index) == Worth::Little {
                EXPANDS
            } else if self.worth(index) == Worth::Sparse {
                LevelOrigin::Cut(index)
            } else if self.has_room(bytes) {
                LevelOrigin::Ordered(index)
            } else if self.file_cost(index, TILE) <= EXPENSIVE {
                LevelOrigin::Cut(index)
            } else {
                NO_ROOM
            };
            self.levels.push((LevelShape { size, tile: TILE }, origin));
            return;
        }
        let is_costly = grid == Grid::Strips && self.file_cost(index, TILE) > CHEAP;
        let origin = if is_costly && self.worth(index) == Worth::Little {
            EXPANDS
        } else if is_costly && self.worth(index) == Worth::Whole && self.has_room(bytes) {
            LevelOrigin::Whole {
                from: Base::File(index),
                factor: 1,
                spooled: true,
            }
        } else {
            LevelOrigin::Cut(index)
        };
        self.levels.push((LevelShape { size, tile: TILE }, origin));
    }

    /// Adds a level that is missing in the file.
    fn make(&mut self, size: Size, tile: Size) {
        let origin = self.origin(size, tile);
        self.levels.push((LevelShape { size, tile }, origin));
    }

    fn origin(&self, size: Size, tile: Size) -> LevelOrigin {
        // the nearest larger level that need not be derived itself for each tile
        let mut factor = 1u32;
        let mut from = self.levels.len();
        for (index, (_, origin)) in self.levels.iter().enumerate().rev() {
            factor *= 2;
            from = index;
            if !matches!(origin, LevelOrigin::Reduced { .. } | LevelOrigin::Refused(_)) || factor >= 128 {
                break;
            }
        }
        let bytes = self.bytes(size);
        let wide = Size::new(tile.w.saturating_mul(factor), tile.h.saturating_mul(factor));
        let cost = self.cost(from, wide);
        let full = self
            .levels
            .first()
            .map_or(u64::MAX, |(level, _)| self.bytes(level.size));
        let whole = |spooled| LevelOrigin::Whole {
            from: Base::Header(from),
            factor,
            spooled,
        };
        let worth = match self.root(from) {
            Ok(index) => self.worth(index),
            Err(refused) => return refused,
        };
        let in_memory = bytes <= self.budget.level_bytes && full <= MOST;
        match worth {
            // a decoder may take many times the bytes of its samples
            Worth::Little if cost > FLOOR / 8 => EXPANDS,
            Worth::Little => LevelOrigin::Reduced { from, factor },
            _ if in_memory && (factor >= 4 || cost > CHEAP) => whole(false),
            _ if cost <= CHEAP => LevelOrigin::Reduced { from, factor },
            Worth::Whole if self.has_room(bytes) && full <= MOST => whole(true),
            _ if cost <= EXPENSIVE => LevelOrigin::Reduced { from, factor },
            Worth::Sparse => EXPANDS,
            Worth::Whole => NO_ROOM,
        }
    }

    fn worth(&self, index: usize) -> Worth {
        self.worth.get(index).copied().unwrap_or(Worth::Whole)
    }

    /// The level of the file from which one of the header is ultimately derived, or why it is not available.
    fn root(&self, mut level: usize) -> Result<usize, LevelOrigin> {
        loop {
            level = match self.levels.get(level) {
                Some((
                    _,
                    LevelOrigin::Stored(index)
                    | LevelOrigin::Cut(index)
                    | LevelOrigin::Ordered(index)
                    | LevelOrigin::Whole {
                        from: Base::File(index),
                        ..
                    },
                )) => return Ok(*index),
                // always a larger one
                Some((
                    _,
                    LevelOrigin::Reduced { from, .. }
                    | LevelOrigin::Whole {
                        from: Base::Header(from),
                        ..
                    },
                )) if *from < level => *from,
                Some((_, refused @ LevelOrigin::Refused(_))) => return Err(*refused),
                Some(_) | None => return Err(NO_ROOM),
            };
        }
    }

    fn bytes(&self, size: Size) -> u64 {
        size.area().saturating_mul(self.pixel_bytes)
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.budget
            .spool_dir
            .as_ref()
            .is_some_and(|spool_dir| bytes <= spool_dir.max_bytes())
    }

    /// Decoded bytes for a window of this size in a level of the header.
    fn cost(&self, level: usize, window: Size) -> u64 {
        match self.levels.get(level) {
            Some((_, LevelOrigin::Stored(index) | LevelOrigin::Cut(index))) => self.file_cost(*index, window),
            Some((_, LevelOrigin::Reduced { from, factor })) => {
                let (w, h) = (window.w.saturating_mul(*factor), window.h.saturating_mul(*factor));
                self.cost(*from, Size::new(w, h))
            }
            Some((level, LevelOrigin::Whole { .. } | LevelOrigin::Ordered(_))) => {
                self.bytes(cut(window, level.size))
            }
            Some((_, LevelOrigin::Refused(_))) | None => u64::MAX,
        }
    }

    /// Decoded bytes for a window of this size in a level of the file.
    fn file_cost(&self, level: usize, window: Size) -> u64 {
        let Some(stored) = self.file.get(level) else {
            return u64::MAX;
        };
        let reach = match stored.grid {
            Grid::Rows => return in_rows(cut(window, stored.size)).saturating_mul(self.pixel_bytes),
            // it may begin and end within a tile
            _ => Size::new(
                window.w.saturating_add(stored.tile.w),
                window.h.saturating_add(stored.tile.h),
            ),
        };
        self.bytes(cut(reach, stored.size))
    }
}

fn cut(window: Size, size: Size) -> Size {
    Size::new(window.w.min(size.w), window.h.min(size.h))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::source::synthetic::Synthetic;
    use crate::source::synthetic::sample;

    fn level(w: u32, h: u32, tile: (u32, u32)) -> Level {
        Level::tiled(Size::new(w, h), Size::new(tile.0, tile.1))
    }

    fn spool_dir() -> Option<Arc<SpoolDir>> {
        Some(Arc::new(SpoolDir::new(std::env::temp_dir(), 10 << 30)))
    }

    /// Levels, and where they come from, of a grey file of 8 bits.
    fn planned(levels: &[Level], grid: Grid, budget: &Budget) -> Vec<(Size, LevelOrigin)> {
        let mut header = Synthetic::new(levels.to_vec(), 1, sample).header().clone();
        header.levels.iter_mut().for_each(|level| level.grid = grid);
        plan(&header, &[], budget)
            .into_iter()
            .map(|(level, origin)| (level.size, origin))
            .collect()
    }

    #[test]
    fn complete_pyramids_are_unchanged() {
        for levels in [
            vec![
                level(1000, 700, (256, 256)),
                level(500, 350, (256, 256)),
                level(250, 175, (256, 256)),
            ],
            vec![level(200, 100, (256, 256))],
            // it ends early, but is small enough
            vec![
                level(4000, 2000, (256, 256)),
                level(2000, 1000, (256, 256)),
                level(1000, 500, (256, 256)),
            ],
            vec![level(1001, 701, (256, 64)), level(500, 350, (64, 256))],
        ] {
            let origins = planned(&levels, Grid::Tiles, &Budget::default());
            assert!(
                origins
                    .iter()
                    .all(|(_, origin)| matches!(origin, LevelOrigin::Stored(_))),
                "{origins:?}"
            );
            assert_eq!(origins.len(), levels.len());
        }
    }

    #[test]
    fn missing_levels_are_derived_between_and_below_the_stored_ones() {
        let sizes = |levels: &[Level]| -> Vec<(u32, u32)> {
            planned(levels, Grid::Tiles, &Budget::default())
                .iter()
                .map(|(size, _)| (size.w, size.h))
                .collect()
        };
        assert_eq!(
            sizes(&[level(1001, 701, (256, 256))]),
            [(1001, 701), (501, 351), (251, 176)]
        );
        assert_eq!(
            sizes(&[
                level(8000, 4000, (256, 256)),
                level(2000, 1000, (256, 256)),
                level(500, 250, (256, 256))
            ]),
            [
                (8000, 4000),
                (4000, 2000),
                (2000, 1000),
                (1000, 500),
                (500, 250),
                (250, 125)
            ]
        );
    }

    #[test]
    fn levels_derived_from_reduced_ones_include_their_cost() {
        // sparse and absurdly high: a few bytes of a file can declare that
        let high = [level(64, 1_744_830_528, (32, 32))];
        for level_bytes in [0, 5 << 20] {
            let budget = Budget {
                level_bytes,
                spool_dir: spool_dir(),
                ..Budget::default()
            };
            let origins = planned(&high, Grid::Tiles, &budget);
            let reach = |level: usize| {
                let (mut at, mut rows) = (level, 32u64);
                while let (_, LevelOrigin::Reduced { from, factor }) = origins[at] {
                    rows *= u64::from(factor);
                    at = from;
                }
                rows * 64
            };
            assert_eq!(origins.last().unwrap().1, NO_ROOM);
            for (index, (_, origin)) in origins.iter().enumerate() {
                assert!(
                    matches!(origin, LevelOrigin::Refused(_)) || reach(index) <= EXPENSIVE,
                    "{index}: {origins:?}"
                );
            }
        }
    }

    #[test]
    fn levels_of_absurd_size_are_derived_within_the_fixed_limit() {
        let wide = [level(60_000, 60_000, (1024, 1024))];
        let wide = Synthetic::new(wide.to_vec(), 1, sample);
        let budget = Budget {
            level_bytes: 5 << 20,
            spool_dir: spool_dir(),
            ..Budget::default()
        };
        let origins = |grid, worth| -> Vec<LevelOrigin> {
            let mut header = wide.header().clone();
            header.levels[0].grid = grid;
            let planned = plan(&header, &[worth], &budget);
            planned.into_iter().map(|(_, origin)| origin).collect()
        };
        for grid in [Grid::Tiles, Grid::Rows] {
            let little = origins(grid, Worth::Little);
            assert!(!matches!(little[0], LevelOrigin::Refused(_)), "{little:?}");
            assert!(
                little[1..]
                    .iter()
                    .all(|origin| matches!(origin, LevelOrigin::Reduced { .. }) || *origin == EXPANDS)
            );
            assert_eq!(little.last(), Some(&EXPANDS), "{little:?}");
        }
        for worth in [Worth::Little, Worth::Sparse] {
            // without writing to disk
            for grid in [Grid::Order, Grid::Strips] {
                assert!(origins(grid, worth).iter().all(|origin| !origin.is_spooled()));
            }
        }
        assert!(origins(Grid::Order, Worth::Whole)[0].is_spooled());
        assert!(!matches!(
            origins(Grid::Tiles, Worth::Sparse).last(),
            Some(LevelOrigin::Refused(_))
        ));
    }

    #[test]
    fn expensive_levels_are_derived_as_a_whole_if_there_is_space() {
        let giga = [level(32_768, 32_768, (256, 256))];
        let whole = |spooled, factor, from| LevelOrigin::Whole {
            from: Base::Header(from),
            factor,
            spooled,
        };
        let small = Budget {
            level_bytes: 5 << 20,
            spool_dir: None,
            ..Budget::default()
        };
        let origins: Vec<LevelOrigin> = planned(&giga, Grid::Tiles, &small)
            .into_iter()
            .map(|(_, origin)| origin)
            .collect();
        let reduced = |factor| LevelOrigin::Reduced { from: 0, factor };
        assert_eq!(
            origins[..4],
            [LevelOrigin::Stored(0), reduced(2), reduced(4), reduced(8)]
        );
        assert_eq!(origins[4], whole(false, 16, 0), "{origins:?}");
        // without memory and a directory, the smallest levels are not available
        let origins = planned(&giga, Grid::Tiles, &Budget::default());
        assert_eq!(origins.last().unwrap().1, NO_ROOM);
        let spooled = Budget {
            level_bytes: 0,
            spool_dir: spool_dir(),
            ..Budget::default()
        };
        let origins = planned(&giga, Grid::Tiles, &spooled);
        assert_eq!(origins[4].1, whole(true, 16, 0));
        assert!(
            origins
                .iter()
                .all(|(_, origin)| !matches!(origin, LevelOrigin::Refused(_)))
        );
        // a strip of a gigabyte is decoded once
        let strip = [level(32_768, 32_768, (32_768, 32_768))];
        assert!(matches!(
            planned(&strip, Grid::Strips, &spooled)[0].1,
            LevelOrigin::Whole {
                factor: 1,
                spooled: true,
                ..
            }
        ));
        // uncompressed rows are read directly
        assert_eq!(planned(&strip, Grid::Rows, &spooled)[0].1, LevelOrigin::Cut(0));
    }
}
