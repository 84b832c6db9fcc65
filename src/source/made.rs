//! A whole pyramid out of a file that has only some of it: levels that are missing are made, strips are cut to tiles.
//!
//! Knows which level comes from which and what that costs: one that is cheap is made tile by tile, one that is dear
//! once as a whole, which is then kept in memory or in a temporary file. Decodes nothing itself.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Format;
use crate::raster::Kind;
use crate::raster::Raster;
use crate::source::Header;
use crate::source::Level;
use crate::source::Source;
use crate::source::Tile;
use crate::source::Window;
use crate::source::reduce::reduce;
use crate::source::spool::Room;
use crate::source::spool::Spool;
use crate::source::window;
use crate::source::window::Forgetful;
use crate::source::window::Keep;
use crate::source::window::Memo;
use crate::source::window::Part;
use crate::source::window::Renamed;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// The tiles of levels that have none of their own.
const TILE: Size = Size::new(256, 256);

/// A level that takes no more decoded bytes for one tile is made tile by tile.
const CHEAP: u64 = 16 << 20;

/// Decoded bytes that one tile may take where nothing can be kept.
const DEAR: u64 = 256 << 20;

/// Decoded bytes that a level may take that is made as a whole.
const MOST: u64 = 16 << 30;

/// A pyramid whose last level has no more pixels is complete, even if it takes several tiles.
const SMALL: u64 = 1 << 20;

/// Columns of a level that are read at once when it is gone through as a whole.
const COLUMNS: u32 = 8192;

/// Rows of a level in strips that are read at once at least.
const ROWS: u32 = 256;

/// What made levels may take.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Bytes of a level that is kept in memory.
    pub level_bytes: u64,
    /// Where larger ones go.
    pub room: Option<Arc<Room>>,
}

/// Where a level comes from; the numbers are those of levels of the header before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From that level of the file, tile by tile.
    Stored(usize),
    /// From that level of the file, cut from its strips.
    Cut(usize),
    /// From a larger level, tile by tile.
    Reduced { from: usize, factor: u32 },
    /// From a larger level or, with factor 1, from the strips of its own, as a whole.
    Whole { from: Base, factor: u32, spooled: bool },
    /// It would cost too much.
    Refused,
}

/// What a whole level is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// A level of the file.
    File(usize),
    /// A level of the header.
    Header(usize),
}

/// A source with all levels.
pub struct Made {
    inner: Box<dyn Source>,
    header: Header,
    ways: Vec<Way>,
    room: Option<Arc<Room>>,
    /// The temporary file of each level that has one, once it is written.
    spools: Vec<Mutex<Option<Arc<Spool>>>>,
}

/// What is to be known of a level of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Tiles that can be shown as they are.
    Tiles,
    /// Strips that must be decoded as wholes.
    Strips,
    /// Rows that can be read in parts.
    Rows,
}

impl Made {
    /// The source itself when it lacks nothing. `grids` says how its levels lie in the file.
    pub fn over(inner: Box<dyn Source>, grids: &[Grid], budget: &Budget) -> Box<dyn Source> {
        let header = inner.header();
        let plan = plan(header, grids, budget);
        if plan.iter().all(|(_, way)| matches!(way, Way::Stored(_))) {
            return inner;
        }
        let (levels, ways): (Vec<Level>, Vec<Way>) = plan.into_iter().unzip();
        let header = Header {
            levels,
            ..header.clone()
        };
        Box::new(Made {
            inner,
            spools: ways.iter().map(|_| Mutex::default()).collect(),
            header,
            ways,
            room: budget.room.clone(),
        })
    }

    fn way(&self, level: usize) -> Result<Way> {
        let way = self.ways.get(level).copied();
        way.ok_or_else(|| Error::Outside("no such level".into()))
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
        keep: &dyn Keep,
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
        self.spool(level, from, factor, keep)?.read(window.rect)
    }

    /// The temporary file of a level; who comes while it is written waits.
    fn spool(&self, level: usize, from: Base, factor: u32, keep: &dyn Keep) -> Result<Arc<Spool>> {
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
        self.go_through(from, factor, keep, |raster, at| {
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
        keep: &dyn Keep,
        take: impl Fn(Raster, Rect) -> Result<()> + Sync,
    ) -> Result<()> {
        // strips that two pieces share are decoded once
        let memo = Memo::over(keep);
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
        let (next, count) = (AtomicU64::new(0), grid.area());
        let failed: Mutex<Option<Error>> = Mutex::default();
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return;
                }
                let across = u64::from(grid.w);
                let (col, row) = (index % across, index / across);
                let cell = u32::try_from(col).ok().zip(u32::try_from(row).ok());
                let Some(rect) = cell.and_then(|(col, row)| Rect::cell(size, piece, col, row)) else {
                    return;
                };
                let window = Window { level, rect };
                let read = match from {
                    Base::File(_) => self.inner.window(window, &below),
                    Base::Header(_) => self.window(window, &memo),
                };
                let (w, h) = (rect.w.div_ceil(factor), rect.h.div_ceil(factor));
                let at = Rect::new(rect.x / factor, rect.y / factor, w, h);
                let done = read.and_then(|raster| {
                    let raster = if factor > 1 {
                        reduce(&raster, factor)
                    } else {
                        raster
                    };
                    take(raster, at)
                });
                if let Err(error) = done {
                    next.store(count, Ordering::Relaxed);
                    failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                    return;
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(usize::try_from(count).unwrap_or(threads)) {
                scope.spawn(work);
            }
            work();
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map_or(Ok(()), Err)
    }
}

impl Source for Made {
    fn header(&self) -> &Header {
        &self.header
    }

    fn read(&self, tile: Tile) -> Result<Raster> {
        self.read_keeping(tile, &Forgetful)
    }

    fn read_keeping(&self, tile: Tile, keep: &dyn Keep) -> Result<Raster> {
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
        self.window(Window { level, rect }, keep)
    }

    fn window(&self, window: Window, keep: &dyn Keep) -> Result<Raster> {
        match self.way(window.level)? {
            Way::Stored(_) => window::of_tiles(self, window, keep),
            Way::Cut(level) => {
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
                let larger = self.window(Window { level: from, rect }, &below)?;
                Ok(reduce(&larger, factor))
            }
            Way::Whole {
                from,
                factor,
                spooled,
            } => self.of_whole(window, keep, from, factor, spooled),
            Way::Refused => Err(Error::TooLarge(
                "this level of the image is missing and too large to be made in memory (see CACHE_DIR)"
                    .into(),
            )),
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

/// All levels, the largest first, and how each is had.
fn plan(header: &Header, grids: &[Grid], budget: &Budget) -> Vec<(Level, Way)> {
    let grid = |level: usize| grids.get(level).copied().unwrap_or(Grid::Tiles);
    let base = match (grid(0), header.levels.first()) {
        (Grid::Tiles, Some(level)) => level.tile,
        _ => TILE,
    };
    let mut plan = Planning {
        pixel_bytes: pixel_bytes(header),
        file: &header.levels,
        grids,
        budget,
        levels: Vec::new(),
    };
    let mut whole = true;
    for (index, level) in header.levels.iter().enumerate() {
        while let Some(next) = plan.next().filter(|next| is_between(*next, level.size)) {
            whole = false;
            plan.make(next, base);
        }
        plan.store(index, *level);
    }
    let last = header.levels.last().map_or(1, |level| level.size.area());
    if header.levels.len() < 2 || !whole || last > SMALL {
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

/// Whether a level of this size is missing before one of that.
fn is_between(made: Size, stored: Size) -> bool {
    let (made, stored) = (made.w.max(made.h), stored.w.max(stored.h));
    u64::from(made) * 3 > u64::from(stored) * 4 && made > stored + 1
}

fn pixel_bytes(header: &Header) -> u64 {
    let sample = match (header.kind, header.bits) {
        (Kind::Unsigned, 0..=8) => 1,
        (Kind::Unsigned, 9..=16) => 2,
        _ => 4,
    };
    u64::from(header.channels) * sample
}

/// A list of levels in the making.
struct Planning<'a> {
    pixel_bytes: u64,
    file: &'a [Level],
    grids: &'a [Grid],
    budget: &'a Budget,
    levels: Vec<(Level, Way)>,
}

impl Planning<'_> {
    /// Half the size of the last level.
    fn next(&self) -> Option<Size> {
        self.levels.last().map(|(level, _)| level.size.halved_up(1))
    }

    /// Adds a level of the file.
    fn store(&mut self, index: usize, level: Level) {
        let grid = self.grids.get(index).copied().unwrap_or(Grid::Tiles);
        if grid == Grid::Tiles {
            self.levels.push((level, Way::Stored(index)));
            return;
        }
        let bytes = self.bytes(level.size);
        let dear = grid == Grid::Strips && self.file_cost(index, TILE) > CHEAP;
        let way = if dear && self.has_room(bytes) {
            Way::Whole {
                from: Base::File(index),
                factor: 1,
                spooled: true,
            }
        } else {
            Way::Cut(index)
        };
        let size = level.size;
        self.levels.push((Level { size, tile: TILE }, way));
    }

    /// Adds a level that the file does not have.
    fn make(&mut self, size: Size, tile: Size) {
        let way = self.way(size, tile);
        self.levels.push((Level { size, tile }, way));
    }

    fn way(&self, size: Size, tile: Size) -> Way {
        // the nearest level above that need not be made from another one for each tile
        let mut factor = 1u32;
        let mut from = self.levels.len();
        for (index, (_, way)) in self.levels.iter().enumerate().rev() {
            factor *= 2;
            from = index;
            if !matches!(way, Way::Reduced { .. } | Way::Refused) || factor >= 128 {
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
        let whole = |spooled| Way::Whole {
            from: Base::Header(from),
            factor,
            spooled,
        };
        if bytes <= self.budget.level_bytes && (factor >= 4 || cost > CHEAP) && full <= MOST {
            whole(false)
        } else if cost <= CHEAP {
            Way::Reduced { from, factor }
        } else if self.has_room(bytes) && full <= MOST {
            whole(true)
        } else if cost <= DEAR {
            Way::Reduced { from, factor }
        } else {
            Way::Refused
        }
    }

    fn bytes(&self, size: Size) -> u64 {
        size.area().saturating_mul(self.pixel_bytes)
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.budget
            .room
            .as_ref()
            .is_some_and(|room| bytes <= room.max_bytes())
    }

    /// Bytes that are decoded for a window of this size of a level of the header.
    fn cost(&self, level: usize, window: Size) -> u64 {
        match self.levels.get(level) {
            Some((_, Way::Stored(index) | Way::Cut(index))) => self.file_cost(*index, window),
            Some((level, _)) => self.bytes(cut(window, level.size)),
            None => u64::MAX,
        }
    }

    /// Bytes that are decoded for a window of this size of a level of the file.
    fn file_cost(&self, level: usize, window: Size) -> u64 {
        let Some(of) = self.file.get(level) else {
            return u64::MAX;
        };
        let reach = match self.grids.get(level) {
            Some(Grid::Rows) => window,
            // it may begin and end within a tile
            _ => Size::new(
                window.w.saturating_add(of.tile.w),
                window.h.saturating_add(of.tile.h),
            ),
        };
        self.bytes(cut(reach, of.size))
    }
}

fn cut(window: Size, size: Size) -> Size {
    Size::new(window.w.min(size.w), window.h.min(size.h))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Samples;
    use crate::source::synthetic::Synthetic;
    use crate::source::synthetic::sample;
    use std::sync::atomic::AtomicUsize;

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

    /// Levels, and how they are had, of a grey file of 8 bits.
    fn planned(levels: &[Level], grid: Grid, budget: &Budget) -> Vec<(Size, Way)> {
        let header = Synthetic::new(levels.to_vec(), 1, sample).header().clone();
        let grids = vec![grid; levels.len()];
        plan(&header, &grids, budget)
            .into_iter()
            .map(|(level, way)| (level.size, way))
            .collect()
    }

    fn room() -> Option<Arc<Room>> {
        Some(Arc::new(Room::new(std::env::temp_dir(), 10 << 30)))
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
        source.window(Window { level, rect }, &Forgetful).unwrap()
    }

    #[test]
    fn a_pyramid_that_lacks_nothing_is_left_alone() {
        for levels in [
            vec![
                level(1000, 700, (256, 256)),
                level(500, 350, (256, 256)),
                level(250, 175, (256, 256)),
            ],
            vec![level(200, 100, (256, 256))],
            // it ends early, but small enough
            vec![
                level(4000, 2000, (256, 256)),
                level(2000, 1000, (256, 256)),
                level(1000, 500, (256, 256)),
            ],
            vec![level(1001, 701, (256, 64)), level(500, 350, (64, 256))],
        ] {
            let ways = planned(&levels, Grid::Tiles, &Budget::default());
            assert!(
                ways.iter().all(|(_, way)| matches!(way, Way::Stored(_))),
                "{ways:?}"
            );
            assert_eq!(ways.len(), levels.len());
        }
    }

    #[test]
    fn missing_levels_stand_between_and_behind_the_stored_ones() {
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
    fn what_is_dear_is_made_as_a_whole_where_there_is_place_for_it() {
        let giga = [level(32_768, 32_768, (256, 256))];
        let whole = |spooled, factor, from| Way::Whole {
            from: Base::Header(from),
            factor,
            spooled,
        };
        let small = Budget {
            level_bytes: 5 << 20,
            room: None,
        };
        let ways: Vec<Way> = planned(&giga, Grid::Tiles, &small)
            .into_iter()
            .map(|(_, way)| way)
            .collect();
        let reduced = |factor| Way::Reduced { from: 0, factor };
        assert_eq!(ways[..4], [Way::Stored(0), reduced(2), reduced(4), reduced(8)]);
        assert_eq!(ways[4], whole(false, 16, 0), "{ways:?}");
        // without memory and without a directory the smallest ones cannot be had
        let ways = planned(&giga, Grid::Tiles, &Budget::default());
        assert_eq!(ways.last().unwrap().1, Way::Refused);
        let spooled = Budget {
            level_bytes: 0,
            room: room(),
        };
        let ways = planned(&giga, Grid::Tiles, &spooled);
        assert_eq!(ways[4].1, whole(true, 16, 0));
        assert!(ways.iter().all(|(_, way)| *way != Way::Refused));
        // a strip of a gigabyte is decoded once
        let strip = [level(32_768, 32_768, (32_768, 32_768))];
        assert!(matches!(
            planned(&strip, Grid::Strips, &spooled)[0].1,
            Way::Whole {
                factor: 1,
                spooled: true,
                ..
            }
        ));
        // rows that lie plainly in the file are read where they are
        assert_eq!(planned(&strip, Grid::Rows, &spooled)[0].1, Way::Cut(0));
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
            room: room(),
            spools: (0..2).map(|_| Mutex::default()).collect(),
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
