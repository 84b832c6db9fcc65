//! Completes a pyramid: derives missing levels, and cuts strips into tiles.
//!
//! A cheap level is derived tile by tile, an expensive one once as a whole, which is then kept in memory or in a
//! temporary file. `ways` decides which level is derived from which.

mod ways;

pub use crate::source::made::ways::Budget;
pub use crate::source::made::ways::Grid;

use crate::error::Error;
use crate::error::Result;
use crate::failures::Failures;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Format;
use crate::raster::Raster;
use crate::source::Effort;
use crate::source::Header;
use crate::source::Level;
use crate::source::Source;
use crate::source::Tile;
use crate::source::Window;
use crate::source::made::ways::Base;
use crate::source::made::ways::Way;
use crate::source::made::ways::Worth;
use crate::source::made::ways::plan;
use crate::source::made::ways::stored_bytes;
use crate::source::reduce::reduce;
use crate::source::spool::Spool;
use crate::source::spool::SpoolDir;
use crate::source::window;
use crate::source::window::BandCache;
use crate::source::window::NoCache;
use crate::source::window::Part;
use crate::source::window::Renamed;
use crate::source::window::TileCache;
use crate::work;
use crate::work::parallel::each;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Columns of a level that are read at once when it is gone through as a whole.
const COLUMNS: u32 = 8192;

/// Rows of a level in strips that are read at once at least.
const ROWS: u32 = 256;

/// Pieces that are in memory at the same time, but for one.
const HANDS: usize = 3;

/// Takes a piece of a level and its place.
type Take<'a> = dyn Fn(Raster, Rect) -> Result<()> + Sync + 'a;

/// A source with all levels.
pub struct Made {
    inner: Box<dyn Source>,
    header: Header,
    ways: Vec<Way>,
    /// Ways that use no temporary files.
    roomless: Vec<Way>,
    room: Option<Arc<SpoolDir>>,
    /// The temporary file of each level that has one, once it is written.
    spools: Vec<Mutex<Option<Arc<Spool>>>>,
    /// Levels that could not be made as wholes.
    failed: Failures<usize>,
}

impl Made {
    /// The source itself when it lacks nothing. `grids` says how its levels lie in the file.
    pub fn over(inner: Box<dyn Source>, grids: &[Grid], budget: &Budget) -> Box<dyn Source> {
        let header = inner.header();
        let most = budget.limits.in_bands(header.version.bytes());
        let worth = |level: usize| {
            if stored_bytes(header, level) <= most {
                Worth::Whole
            } else if inner.present(level) <= most {
                Worth::Sparse
            } else {
                Worth::Little
            }
        };
        let worth: Vec<Worth> = (0..header.levels.len()).map(worth).collect();
        let planned = plan(header, grids, &worth, budget);
        if planned.iter().all(|(_, way)| matches!(way, Way::Stored(_))) {
            return inner;
        }
        let (levels, ways): (Vec<Level>, Vec<Way>) = planned.into_iter().unzip();
        let roomless = Budget {
            room: None,
            ..budget.clone()
        };
        // sizes do not depend on a budget
        let roomless = plan(header, grids, &worth, &roomless);
        let header = Header {
            levels,
            ..header.clone()
        };
        Box::new(Made {
            inner,
            spools: ways.iter().map(|_| Mutex::default()).collect(),
            header,
            ways,
            roomless: roomless.into_iter().map(|(_, way)| way).collect(),
            room: budget.room.clone(),
            failed: Failures::default(),
        })
    }

    fn way(&self, level: usize) -> Result<Way> {
        let way = self.ways.get(level).copied();
        let way = way.ok_or_else(|| Error::Outside("no such level".into()))?;
        if way.is_spooled() && self.lacks_room() && !self.is_spooled(level) {
            return self.roomless(level);
        }
        Ok(way)
    }

    /// How a level is had without temporary files.
    fn roomless(&self, level: usize) -> Result<Way> {
        let way = self.roomless.get(level).copied();
        way.ok_or_else(|| Error::Outside("no such level".into()))
    }

    /// Whether the directory for temporary files has turned out to be of no use.
    fn lacks_room(&self) -> bool {
        self.room.as_ref().is_some_and(|room| room.is_broken())
    }

    /// Whether the temporary file of a level is written.
    fn is_spooled(&self, level: usize) -> bool {
        let place = self.spools.get(level);
        place.is_some_and(|place| place.try_lock().is_ok_and(|place| place.is_some()))
    }

    fn size(&self, level: usize) -> Size {
        self.header
            .levels
            .get(level)
            .map_or(Size::new(1, 1), |level| level.size)
    }

    /// A part of a level that is made as a whole.
    fn of_whole(
        &self,
        window: Window,
        keep: &dyn TileCache,
        from: Base,
        factor: u32,
        spooled: bool,
    ) -> Result<Raster> {
        let level = window.level;
        if !spooled {
            let whole = keep.keep(Part::Level(level), &mut || {
                let out = Mutex::new(None);
                let size = self.size(level);
                self.go_through(from, factor, keep, |raster, at| {
                    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
                    let out = out.get_or_insert_with(|| window::blank(size, &raster));
                    window::put(&raster, at, out, Rect::of(size))
                })?;
                let out = out.into_inner().unwrap_or_else(PoisonError::into_inner);
                out.ok_or_else(|| Error::Outside("an empty level".into()))
            })?;
            let mut part = window::blank(window.rect.size(), &whole);
            window::put(&whole, Rect::of(whole.size), &mut part, window.rect)?;
            return Ok(part);
        }
        let spool = self.spool(level, |take| self.go_through(from, factor, keep, take))?;
        spool.read(window.rect)
    }

    /// The temporary file of a level, which `go_through` gives in pieces; who comes while it is written waits.
    fn spool(&self, level: usize, go_through: impl FnOnce(&Take) -> Result<()>) -> Result<Arc<Spool>> {
        let (place, room) = self
            .spools
            .get(level)
            .zip(self.room.as_ref())
            .ok_or(Error::Busy)?;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spool) = &*place {
            return Ok(spool.clone());
        }
        let out: Mutex<Option<Arc<Spool>>> = Mutex::default();
        go_through(&|raster, at| {
            let spool = {
                let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
                match &*out {
                    Some(spool) => spool.clone(),
                    None => out
                        .insert(Arc::new(Spool::new(room, self.size(level), &raster)?))
                        .clone(),
                }
            };
            spool.write(&raster, at)
        })?;
        let spool = out.into_inner().unwrap_or_else(PoisonError::into_inner);
        let spool = spool.ok_or_else(|| Error::Outside("an empty level".into()))?;
        Ok(place.insert(spool).clone())
    }

    /// Reads a level once, in pieces and on several threads, and gives each piece, reduced, with its place to `take`.
    fn go_through(
        &self,
        from: Base,
        factor: u32,
        keep: &dyn TileCache,
        take: impl Fn(Raster, Rect) -> Result<()> + Sync,
    ) -> Result<()> {
        // strips that two pieces share are decoded once
        let memo = BandCache::over(keep);
        let below = Renamed {
            keep: &memo,
            name: as_stored,
        };
        let (levels, level) = match from {
            Base::File(level) => (&self.inner.header().levels, level),
            Base::Header(level) => (&self.header.levels, level),
        };
        let Level { size, tile } = *levels.get(level).ok_or(Error::Busy)?;
        let step = |side: u32, least: u32| (side.max(least).div_ceil(factor) * factor).max(factor);
        // what a piece covers is a multiple of the factor, and of tiles where these are one, too
        let piece = if tile.w >= size.w {
            Size::new(size.w.div_ceil(factor).saturating_mul(factor), step(tile.h, ROWS))
        } else {
            Size::new(step(COLUMNS / tile.w.max(1) * tile.w, tile.w), step(tile.h, 1))
        };
        let grid = size.grid(piece);
        let rows = 0..grid.h;
        let pieces =
            rows.flat_map(|row| (0..grid.w).filter_map(move |col| Rect::cell(size, piece, col, row)));
        let others = usize::try_from(grid.area().saturating_sub(1)).unwrap_or(usize::MAX);
        each(others.min(HANDS), pieces, |rect| {
            let window = Window::new(level, rect);
            let (w, h) = (rect.w.div_ceil(factor), rect.h.div_ceil(factor));
            let at = Rect::new(rect.x / factor, rect.y / factor, w, h);
            let vacant = match from {
                Base::File(_) => self.inner.vacant(window, at.size()),
                Base::Header(_) => self.vacant(window, at.size()),
            };
            if let Some(vacant) = vacant {
                return take(vacant, at);
            }
            let raster = match from {
                Base::File(_) => self.inner.window(window, &below)?,
                Base::Header(_) => self.window(window, &memo)?,
            };
            let raster = if factor > 1 {
                reduce(&raster, factor)
            } else {
                raster
            };
            take(raster, at)
        })
    }

    /// A part of a level that is had so.
    fn window_by(&self, way: Way, window: Window, keep: &dyn TileCache) -> Result<Raster> {
        match way {
            Way::Stored(_) => window::of_tiles(self, window, keep),
            Way::Cut(level) => {
                if let Some(vacant) = self.vacant(window, window.rect.size()) {
                    return Ok(vacant);
                }
                let below = Renamed {
                    keep,
                    name: as_stored,
                };
                self.inner.window(Window { level, ..window }, &below)
            }
            Way::Reduced { from, factor } => {
                // tiles on the way would push out what is asked for again
                let below = Renamed {
                    keep,
                    name: not_tiles,
                };
                let rect = enlarged(window.rect, factor, self.size(from));
                if let Some(vacant) = self.vacant(Window::new(from, rect), window.rect.size()) {
                    return Ok(vacant);
                }
                let larger = self.window(
                    Window {
                        level: from,
                        rect,
                        ..window
                    },
                    &below,
                )?;
                Ok(reduce(&larger, factor))
            }
            Way::Whole {
                from,
                factor,
                spooled,
            } => self.failed.attempt(window.level, || {
                self.of_whole(window, keep, from, factor, spooled)
            }),
            Way::Ordered(level) => {
                let read = |take: &Take| {
                    self.inner.in_order(level, &mut |raster, at| {
                        // who asked for it may have gone
                        work::check()?;
                        take(raster, at)
                    })
                };
                let spool = self
                    .failed
                    .attempt(window.level, || self.spool(window.level, read))?;
                spool.read(window.rect)
            }
            Way::Refused(setting) => Err(Error::TooLarge(format!(
                "this level of the image is missing or in one piece and too large to be made (see {setting})"
            ))),
        }
    }

    fn vacant(&self, window: Window, size: Size) -> Option<Raster> {
        match self.way(window.level).ok()? {
            Way::Stored(level) | Way::Cut(level) => self.inner.vacant(Window { level, ..window }, size),
            Way::Reduced { from, factor } => {
                let rect = enlarged(window.rect, factor, self.size(from));
                self.vacant(Window::new(from, rect), size)
            }
            _ => None,
        }
    }
}

impl Source for Made {
    fn header(&self) -> &Header {
        &self.header
    }

    fn read(&self, tile: Tile) -> Result<Raster> {
        self.read_keeping(tile, &NoCache)
    }

    fn read_keeping(&self, tile: Tile, keep: &dyn TileCache) -> Result<Raster> {
        if let Way::Stored(level) = self.way(tile.level)? {
            return self.inner.read_keeping(Tile { level, ..tile }, keep);
        }
        let rect = tile.rect(&self.header.levels).ok_or_else(|| {
            Error::Outside(format!(
                "no tile {},{} in level {}",
                tile.col, tile.row, tile.level
            ))
        })?;
        let level = tile.level;
        self.window(Window::new(level, rect), keep)
    }

    fn window(&self, window: Window, keep: &dyn TileCache) -> Result<Raster> {
        let way = self.way(window.level)?;
        match self.window_by(way, window, keep) {
            // the disk is full, or what may be taken of it
            Err(error) if way.is_spooled() && (self.lacks_room() || matches!(error, Error::TooLarge(_))) => {
                self.window_by(self.roomless(window.level)?, window, keep)
            }
            result => result,
        }
    }

    fn effort(&self, window: Window, keep: &dyn TileCache) -> Effort {
        let level = window.level;
        match self.way(level) {
            Ok(Way::Stored(level)) => self.inner.effort(Window { level, ..window }, keep),
            Ok(Way::Cut(level)) => {
                let below = Renamed {
                    keep,
                    name: as_stored,
                };
                self.inner.effort(Window { level, ..window }, &below)
            }
            Ok(Way::Reduced { from, factor }) => {
                let below = Renamed {
                    keep,
                    name: not_tiles,
                };
                let rect = enlarged(window.rect, factor, self.size(from));
                let larger = Window {
                    level: from,
                    rect,
                    ..window
                };
                self.effort(larger, &below)
            }
            Ok(Way::Whole { spooled: false, .. }) if keep.holds(Part::Level(level)) => {
                Effort::of(window.rect.size().area())
            }
            Ok(Way::Whole { .. } | Way::Ordered(_)) if self.is_spooled(level) => {
                Effort::of(window.rect.size().area())
            }
            Ok(Way::Whole { from, .. }) => {
                let levels = match from {
                    Base::File(_) => &self.inner.header().levels,
                    Base::Header(_) => &self.header.levels,
                };
                let (Base::File(level) | Base::Header(level)) = from;
                levels.get(level).map_or(Effort::default(), |level| {
                    Effort::shared(level.size.area()).of_tiles(level.tile.area())
                })
            }
            Ok(Way::Ordered(_)) => Effort::shared(self.size(level).area()),
            Ok(Way::Refused(_)) | Err(_) => Effort::default(),
        }
    }

    fn is_quick(&self, level: usize) -> bool {
        match self.way(level) {
            Ok(Way::Stored(level)) => self.inner.is_quick(level),
            _ => false,
        }
    }

    fn shares_work(&self, level: usize) -> bool {
        match self.way(level) {
            Ok(Way::Stored(level) | Way::Cut(level)) => self.inner.shares_work(level),
            Ok(Way::Reduced { from, .. }) => self.shares_work(from),
            _ => false,
        }
    }

    fn coded(&self, tile: Tile, format: Format) -> Result<Option<Vec<u8>>> {
        match self.way(tile.level)? {
            Way::Stored(level) => self.inner.coded(Tile { level, ..tile }, format),
            _ => Ok(None),
        }
    }
}

fn as_stored(part: Part) -> Option<Part> {
    Some(match part {
        Part::Tile(tile) => Part::Stored(tile),
        other => other,
    })
}

fn not_tiles(part: Part) -> Option<Part> {
    (!matches!(part, Part::Tile(_))).then_some(part)
}

/// The pixels of a level of this size that `rect` of one `factor` times smaller stands for.
fn enlarged(rect: Rect, factor: u32, size: Size) -> Rect {
    let (x, y) = (rect.x.saturating_mul(factor), rect.y.saturating_mul(factor));
    Rect::new(
        x,
        y,
        rect.w.saturating_mul(factor).min(size.w.saturating_sub(x)),
        rect.h.saturating_mul(factor).min(size.h.saturating_sub(y)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Samples;
    use crate::source::made::ways::TILE;
    use crate::source::synthetic::Synthetic;
    use crate::source::synthetic::sample;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    /// One level, whose tiles are counted as they are read.
    struct Counted(Synthetic, Arc<AtomicUsize>);

    impl Source for Counted {
        fn header(&self) -> &Header {
            self.0.header()
        }

        fn read(&self, tile: Tile) -> Result<Raster> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.read(tile)
        }
    }

    fn level(w: u32, h: u32, tile: (u32, u32)) -> Level {
        Level {
            size: Size::new(w, h),
            tile: Size::new(tile.0, tile.1),
        }
    }

    fn source(levels: Vec<Level>) -> (Box<dyn Source>, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let synthetic = Synthetic::new(levels, 3, sample);
        (Box::new(Counted(synthetic, reads.clone())), reads)
    }

    fn room() -> Option<Arc<SpoolDir>> {
        Some(Arc::new(SpoolDir::new(std::env::temp_dir(), 10 << 30)))
    }

    /// Every sample of a level as the mean of those of level 0.
    fn expected(full: Size, level: u32) -> Raster {
        let samples = (0..full.h)
            .flat_map(|y| (0..full.w).map(move |x| (x, y)))
            .flat_map(|(x, y)| (0..3).map(move |c| sample(x, y, 0, c)));
        let full = Raster {
            size: full,
            channels: 3,
            samples: Samples::U8(samples.collect()),
        };
        reduce(&full, 1 << level)
    }

    fn worst(a: &Raster, b: &Raster) -> u8 {
        let (Samples::U8(a), Samples::U8(b)) = (&a.samples, &b.samples) else {
            panic!("8 bit")
        };
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    }

    fn all(source: &dyn Source, level: usize) -> Raster {
        let rect = Rect::of(source.header().levels[level].size);
        source.window(Window::new(level, rect), &NoCache).unwrap()
    }

    /// One strip that can only be gone through from top to bottom, which is counted.
    struct Strip(Synthetic, Arc<AtomicUsize>);

    impl Source for Strip {
        fn header(&self) -> &Header {
            self.0.header()
        }

        fn read(&self, _: Tile) -> Result<Raster> {
            Err(Error::TooLarge("no tile of it fits".into()))
        }

        fn in_order(&self, level: usize, take: &mut dyn FnMut(Raster, Rect) -> Result<()>) -> Result<()> {
            self.1.fetch_add(1, Ordering::Relaxed);
            let size = self.header().levels[level].size;
            for y in (0..size.h).step_by(100) {
                let rect = Rect::new(0, y, size.w, (size.h - y).min(100));
                take(self.0.window(Window::new(level, rect), &NoCache)?, rect)?;
            }
            Ok(())
        }
    }

    #[test]
    fn a_strip_beyond_memory_is_gone_through_once_for_all_levels_or_refused() {
        let full = Size::new(1500, 1100);
        let strip = || {
            let reads = Arc::new(AtomicUsize::new(0));
            let synthetic = Synthetic::new(vec![level(full.w, full.h, (full.w, full.h))], 3, sample);
            (Box::new(Strip(synthetic, reads.clone())), reads)
        };
        for level_bytes in [0, 1 << 20] {
            let (inner, reads) = strip();
            let budget = Budget {
                level_bytes,
                room: room(),
                ..Budget::default()
            };
            let made = Made::over(inner, &[Grid::Order], &budget);
            for (index, of) in made.header().levels.iter().enumerate() {
                let wanted = expected(full, u32::try_from(index).unwrap());
                assert_eq!(of.size, wanted.size);
                assert!(worst(&all(&*made, index), &wanted) <= 12, "{index}");
            }
            assert_eq!(reads.load(Ordering::Relaxed), 1, "decoded once");
        }
        let (inner, _) = strip();
        let made = Made::over(inner, &[Grid::Order], &Budget::default());
        let rect = Rect::new(0, 0, 10, 10);
        for level in 0..made.header().levels.len() {
            let refused = made.window(Window::new(level, rect), &NoCache);
            assert!(matches!(refused, Err(Error::TooLarge(_))), "{level}");
        }
    }

    #[test]
    fn made_levels_hold_means_of_the_full_size_however_they_are_made() {
        let full = Size::new(1500, 1100);
        for (tile, grid) in [((64, 64), Grid::Tiles), ((1500, 37), Grid::Strips)] {
            for level_bytes in [0, 1 << 20] {
                let (inner, _) = source(vec![level(full.w, full.h, tile)]);
                let budget = Budget {
                    level_bytes,
                    room: None,
                    ..Budget::default()
                };
                let made = Made::over(inner, &[grid], &budget);
                assert!(made.header().levels.len() >= 4);
                for (index, of) in made.header().levels.iter().enumerate() {
                    let wanted = expected(full, u32::try_from(index).unwrap());
                    assert_eq!(of.size, wanted.size);
                    // from the third on a level may come from one that is rounded already, edges weigh otherwise there
                    let bound = if level_bytes == 0 || index <= 2 { 0 } else { 12 };
                    let worst = worst(&all(&*made, index), &wanted);
                    assert!(worst <= bound, "{index} {grid:?} {level_bytes}: off by {worst}");
                }
            }
        }
    }

    #[test]
    fn a_level_in_a_file_of_its_own_is_written_once() {
        let full = Size::new(1500, 1100);
        let (inner, reads) = source(vec![level(full.w, full.h, (1500, 37))]);
        let levels = vec![
            Level {
                size: full,
                tile: TILE,
            },
            level(750, 550, (256, 256)),
        ];
        let spooled = |from| Way::Whole {
            from,
            factor: 1,
            spooled: true,
        };
        let made = Made {
            header: Header {
                levels: levels.clone(),
                ..inner.header().clone()
            },
            inner,
            ways: vec![
                spooled(Base::File(0)),
                Way::Whole {
                    from: Base::Header(0),
                    factor: 2,
                    spooled: true,
                },
            ],
            roomless: vec![Way::Refused("CACHE_DIR"); 2],
            room: room(),
            spools: (0..2).map(|_| Mutex::default()).collect(),
            failed: Failures::default(),
        };
        std::thread::scope(|scope| {
            for index in [0, 1, 0, 1] {
                let made = &made;
                scope.spawn(move || {
                    let wanted = expected(full, u32::try_from(index).unwrap());
                    assert_eq!(worst(&all(made, index), &wanted), 0);
                });
            }
        });
        assert_eq!(reads.load(Ordering::Relaxed), 30, "each strip was decoded once");
    }
}
