//! Completes a pyramid: derives missing levels, and cuts strips into tiles.
//!
//! A cheap level is derived tile by tile; an expensive one once as a whole, and then kept in memory or in a temporary
//! file. `origins` decides which level is derived from which.

mod levels;
mod origins;

pub use crate::source::derived::origins::Budget;
pub use crate::source::derived::origins::check_worth;
pub use crate::source::derived::origins::decoded_bytes;
pub use crate::source::derived::origins::stored_bytes;

use crate::error::Error;
use crate::error::Result;
use crate::failures::Failures;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Format;
use crate::raster::Raster;
use crate::source::Decoding;
use crate::source::Header;
use crate::source::Level;
use crate::source::Piece;
use crate::source::Source;
use crate::source::Take;
use crate::source::Tile;
use crate::source::Window;
use crate::source::cache::BandCache;
use crate::source::cache::NoCache;
use crate::source::cache::Part;
use crate::source::cache::Renamed;
use crate::source::cache::TileCache;
use crate::source::cache::as_stored;
use crate::source::cache::not_tiles;
use crate::source::derived::levels::level;
use crate::source::derived::origins::Base;
use crate::source::derived::origins::LevelOrigin;
use crate::source::derived::origins::LevelShape;
use crate::source::derived::origins::Worth;
use crate::source::derived::origins::pixel_bytes;
use crate::source::derived::origins::plan;
use crate::source::level::Map;
use crate::source::level::NARROW;
use crate::source::level::Parts;
use crate::source::level::Progress;
use crate::source::reduce::reduce;
use crate::source::spool::Spool;
use crate::source::spool::SpoolDir;
use crate::source::window;
use crate::work;
use crate::work::parallel::each;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Most columns of a level that are read at once when a whole level is processed.
const COLUMNS: u32 = 8192;

/// Rows of a level in strips that are read at once.
const ROWS: u32 = 256;

/// Bytes of a level that are read at once, unless one tile or strip has more.
const BYTES: u64 = 8 << 20;

/// Pieces that are in memory at the same time, but for one.
const IN_FLIGHT: usize = 3;

/// Bytes of all pieces in memory, and of the strips that are cached for them.
const PIECES: u64 = (IN_FLIGHT as u64 + 1) * BYTES;

/// Approximate pixels of a larger level that are read at once for a window of a smaller one; fewer with many
/// channels.
const BAND: u32 = 1 << 20;

/// Pixels of such a piece of a wavelet-transformed level, whose coefficients take several times the memory of samples.
const TRANSFORMED: u32 = 512 * 512;

/// Receives a part of a level and its position.
type Put<'a> = dyn Fn(Raster, Rect) -> Result<()> + Sync + 'a;

/// A source with all levels.
pub struct DerivedLevels {
    inner: Box<dyn Source>,
    header: Header,
    origins: Vec<LevelOrigin>,
    /// The origins if temporary files cannot be used.
    unspooled: Vec<LevelOrigin>,
    spool_dir: Option<Arc<SpoolDir>>,
    /// The temporary file of each level, once it is written.
    spools: Vec<Mutex<Option<Arc<Spool>>>>,
    /// Levels that could not be made as a whole.
    failed: Failures<usize>,
}

impl DerivedLevels {
    /// Wraps a source; returns the source itself if no level is missing.
    pub fn over(inner: Box<dyn Source>, budget: &Budget) -> Box<dyn Source> {
        let header = inner.header();
        let most = budget.limits.in_bands(header.version.bytes());
        let worth = |(index, level): (usize, &Level)| {
            if stored_bytes(header, index) <= most {
                Worth::Whole
            } else if level.present <= most {
                Worth::Sparse
            } else {
                Worth::Little
            }
        };
        let worth: Vec<Worth> = header.levels.iter().enumerate().map(worth).collect();
        let planned = plan(header, &worth, budget);
        if planned
            .iter()
            .all(|(_, origin)| matches!(origin, LevelOrigin::Stored(_)))
        {
            return inner;
        }
        let unspooled = Budget {
            spool_dir: None,
            ..budget.clone()
        };
        // sizes do not depend on the budget
        let unspooled = plan(header, &worth, &unspooled);
        let unspooled = unspooled.into_iter().map(|(_, origin)| origin).collect();
        Box::new(DerivedLevels::by(
            inner,
            planned,
            unspooled,
            budget.spool_dir.clone(),
        ))
    }

    /// Wraps a source with these origins, with and without temporary files.
    fn by(
        inner: Box<dyn Source>,
        planned: Vec<(LevelShape, LevelOrigin)>,
        unspooled: Vec<LevelOrigin>,
        spool_dir: Option<Arc<SpoolDir>>,
    ) -> DerivedLevels {
        let mut levels: Vec<Level> = Vec::with_capacity(planned.len());
        for ((shape, origin), without) in planned.iter().zip(&unspooled) {
            let level = level(*shape, *origin, *without, inner.header(), &levels);
            levels.push(level);
        }
        let header = Header {
            levels,
            ..inner.header().clone()
        };
        DerivedLevels {
            inner,
            header,
            spools: planned.iter().map(|_| Mutex::default()).collect(),
            origins: planned.into_iter().map(|(_, origin)| origin).collect(),
            unspooled,
            spool_dir,
            failed: Failures::default(),
        }
    }

    fn origin(&self, level: usize) -> Result<LevelOrigin> {
        let origin = self.origins.get(level).copied();
        let origin = origin.ok_or_else(|| Error::Outside("no such level".into()))?;
        if origin.is_spooled()
            && self.lacks_space()
            && let Some(progress) = self.progress(level)
            && !progress.is_done()
        {
            progress.impossible();
            return self.unspooled(level);
        }
        Ok(origin)
    }

    /// The origin of a level if temporary files cannot be used.
    fn unspooled(&self, level: usize) -> Result<LevelOrigin> {
        let origin = self.unspooled.get(level).copied();
        origin.ok_or_else(|| Error::Outside("no such level".into()))
    }

    /// Whether the directory for temporary files has proved unusable.
    fn lacks_space(&self) -> bool {
        self.spool_dir
            .as_ref()
            .is_some_and(|spool_dir| spool_dir.is_broken())
    }

    /// The progress of a level that is made as a whole.
    fn progress(&self, level: usize) -> Option<&Progress> {
        match &self.header.levels.get(level)?.parts {
            Parts::Shared(shared) => Some(&shared.progress),
            _ => None,
        }
    }

    fn size(&self, level: usize) -> Size {
        self.header
            .levels
            .get(level)
            .map_or(Size::new(1, 1), |level| level.size)
    }

    /// How many lines of `line` pixels are read at once.
    fn fitting(&self, line: u32) -> u32 {
        let bytes = u64::from(line).saturating_mul(pixel_bytes(&self.header));
        u32::try_from(BYTES / bytes.max(1)).unwrap_or(u32::MAX)
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
                    let out = match &mut *out {
                        Some(out) => out,
                        none => none.insert(window::blank(size, &raster)?),
                    };
                    window::put(&raster, at, out, Rect::of(size))
                })?;
                let out = out.into_inner().unwrap_or_else(PoisonError::into_inner);
                out.ok_or_else(|| Error::Outside("an empty level".into()))
            })?;
            let mut part = window::blank(window.rect.size(), &whole)?;
            window::put(&whole, Rect::of(whole.size), &mut part, window.rect)?;
            return Ok(part);
        }
        let spool = self.spool(level, |take| self.go_through(from, factor, keep, take))?;
        spool.read(window.rect)
    }

    /// The temporary file of a level, written from the pieces of `go_through`; concurrent requests wait for it.
    fn spool(&self, level: usize, go_through: impl FnOnce(&Put) -> Result<()>) -> Result<Arc<Spool>> {
        let (place, spool_dir) = self
            .spools
            .get(level)
            .zip(self.spool_dir.as_ref())
            .ok_or_else(|| Error::Internal(format!("level {level} has no temporary file")))?;
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
                        .insert(Arc::new(Spool::new(spool_dir, self.size(level), &raster)?))
                        .clone(),
                }
            };
            spool.write(&raster, at)
        })?;
        let spool = out.into_inner().unwrap_or_else(PoisonError::into_inner);
        let spool = spool.ok_or_else(|| Error::Outside("an empty level".into()))?;
        if let Some(progress) = self.progress(level) {
            progress.done();
        }
        Ok(place.insert(spool).clone())
    }

    /// Reads a level once, in pieces and on several threads, and passes each reduced piece with its position to
    /// `take`.
    fn go_through(
        &self,
        from: Base,
        factor: u32,
        keep: &dyn TileCache,
        take: impl Fn(Raster, Rect) -> Result<()> + Sync,
    ) -> Result<()> {
        // strips shared by two pieces are decoded once
        let bands = BandCache::with(keep, PIECES);
        let below = Renamed {
            keep: &bands,
            name: &as_stored,
        };
        let (levels, level) = match from {
            Base::File(level) => (&self.inner.header().levels, level),
            Base::Header(level) => (&self.header.levels, level),
        };
        let Level {
            size, tile, decoding, ..
        } = *levels
            .get(level)
            .ok_or_else(|| Error::Internal(format!("no level {level} to derive from")))?;
        // one piece that all threads decode, as long as a flat level allows, or several pieces
        let (columns, hands) = match decoding {
            Decoding::Parallel => (
                u32::try_from(tile.area() / u64::from(tile.h.min(size.h).max(1))).unwrap_or(tile.w),
                0,
            ),
            _ => (COLUMNS.min(self.fitting(tile.h)), IN_FLIGHT),
        };
        let piece = if tile.w >= size.w {
            let rows = ROWS.min(self.fitting(size.w));
            Size::new(whole_tiles(size.w, 1, factor), whole_tiles(rows, tile.h, factor))
        } else {
            Size::new(
                whole_tiles(columns, tile.w, factor),
                whole_tiles(tile.h, tile.h, factor),
            )
        };
        let grid = size.grid(piece);
        let rows = 0..grid.h;
        let pieces =
            rows.flat_map(|row| (0..grid.w).filter_map(move |col| Rect::cell(size, piece, col, row)));
        let others = usize::try_from(grid.area().saturating_sub(1)).unwrap_or(usize::MAX);
        // large ones take turns
        let fitting = PIECES / piece.area().saturating_mul(pixel_bytes(&self.header)).max(1);
        let hands = hands.min(usize::try_from(fitting).unwrap_or(hands));
        each(others.min(hands), pieces, |rect| {
            let window = Window::new(level, rect);
            let (w, h) = (rect.w.div_ceil(factor), rect.h.div_ceil(factor));
            let at = Rect::new(rect.x / factor, rect.y / factor, w, h);
            let piece = match from {
                Base::File(_) => window::piece(&*self.inner, window, &below)?,
                Base::Header(_) => self.window(window, &bands)?,
            };
            take(reduced(piece, factor).raster(at.size()), at)
        })
    }

    /// A window of a level derived from one that is `factor` times larger, in bands of rows and, if wide, of columns.
    fn in_bands(&self, from: usize, factor: u32, window: Window, keep: &dyn TileCache) -> Result<Piece> {
        let size = window.rect.size();
        let rect = Map::Enlarged(factor).map(window.rect, self.size(from));
        let whole = |side, tile| whole_tiles(side, tile, factor);
        let piece = match self.header.levels.get(from) {
            Some(level) if level.decoding != Decoding::Parallel => {
                let Size { w, h } = level.tile;
                let rows = whole((BAND / rect.w.max(1)).min(self.fitting(rect.w)), h);
                Size::new(whole(self.fitting(rows.min(rect.h)), w), rows)
            }
            _ => {
                let piece = transformed(rect.size(), self.size(from), self.fitting(1));
                Size::new(whole(piece.w, 1), whole(piece.h, 1))
            }
        };
        let part = |rect: Rect| Window {
            level: from,
            rect,
            ..window
        };
        if piece.w >= rect.w && piece.h >= rect.h {
            return Ok(reduced(self.window(part(rect), keep)?, factor));
        }
        // strips shared by two bands are decoded once
        let bands = BandCache::over(keep);
        let mut out: Option<Raster> = None;
        for cell in pieces(rect, piece) {
            let (x, y) = ((cell.x - rect.x) / factor, (cell.y - rect.y) / factor);
            let at = Rect::new(x, y, cell.w.div_ceil(factor), cell.h.div_ceil(factor));
            let band = reduced(self.window(part(cell), &bands)?, factor).raster(at.size());
            let out = match &mut out {
                Some(out) => out,
                none => none.insert(window::blank(size, &band)?),
            };
            window::put(&band, at, out, Rect::of(size))?;
        }
        let out = out.ok_or_else(|| Error::Outside("an empty window".into()))?;
        Ok(Piece::Pixels(out))
    }

    /// A window of a level with this origin.
    fn window_by(&self, origin: LevelOrigin, window: Window, keep: &dyn TileCache) -> Result<Piece> {
        match origin {
            LevelOrigin::Stored(level) => {
                // keys by the levels of this header
                let name = |part| match part {
                    Part::Tile(tile) => Some(Part::Tile(Tile {
                        level: window.level,
                        ..tile
                    })),
                    other => Some(other),
                };
                let below = Renamed { keep, name: &name };
                window::piece(&*self.inner, Window { level, ..window }, &below)
            }
            LevelOrigin::Cut(level) => {
                let below = Renamed {
                    keep,
                    name: &as_stored,
                };
                window::piece(&*self.inner, Window { level, ..window }, &below)
            }
            LevelOrigin::Reduced { from, factor } => {
                // intermediate tiles would evict useful ones
                let below = Renamed {
                    keep,
                    name: &not_tiles,
                };
                self.in_bands(from, factor, window, &below)
            }
            LevelOrigin::Whole {
                from,
                factor,
                spooled,
            } => self.failed.attempt(window.level, || {
                let whole = self.of_whole(window, keep, from, factor, spooled)?;
                Ok(Piece::Pixels(whole))
            }),
            LevelOrigin::Ordered(level) => {
                let read = |take: &Put| {
                    let whole = Window::new(level, Rect::of(self.size(window.level)));
                    self.inner.read(whole, &NoCache, &mut |piece, at| {
                        // the request may have been cancelled
                        work::check()?;
                        take(piece.raster(at.size()), at)
                    })
                };
                let spool = self
                    .failed
                    .attempt(window.level, || self.spool(window.level, read))?;
                spool.read(window.rect).map(Piece::Pixels)
            }
            LevelOrigin::Refused(setting) => Err(Error::Limit(format!(
                "this level of the image is missing or in one piece and too large to be made (see {setting})"
            ))),
        }
    }

    /// Reads a window, which is inside its level.
    fn window(&self, window: Window, keep: &dyn TileCache) -> Result<Piece> {
        let origin = self.origin(window.level)?;
        match self.window_by(origin, window, keep) {
            // the disk is full, or its limit is reached
            Err(error)
                if origin.is_spooled()
                    && (self.lacks_space() || matches!(error, Error::TooLarge(_) | Error::Limit(_))) =>
            {
                self.window_by(self.unspooled(window.level)?, window, keep)
            }
            result => result,
        }
    }
}

impl Source for DerivedLevels {
    fn header(&self) -> &Header {
        &self.header
    }

    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        take(self.window(window, keep)?, window.rect)
    }

    fn coded(&self, tile: Tile, format: Format) -> Result<Option<Vec<u8>>> {
        match self.origin(tile.level)? {
            LevelOrigin::Stored(level) => self.inner.coded(Tile { level, ..tile }, format),
            _ => Ok(None),
        }
    }
}

/// The side of a piece of about `side` pixels: whole tiles, at least one, rounded up to a multiple of the factor.
fn whole_tiles(side: u32, tile: u32, factor: u32) -> u32 {
    let tile = tile.max(1);
    let tiles = (side / tile).max(1).saturating_mul(tile);
    tiles.div_ceil(factor).saturating_mul(factor)
}

/// The parts of a rectangle in the cells of a grid of this size, in rows.
fn pieces(rect: Rect, size: Size) -> impl Iterator<Item = Rect> {
    let (columns, rows) = rect.cells(size);
    rows.flat_map(move |row| columns.clone().map(move |column| (column, row)))
        .filter_map(move |(column, row)| Rect::new(column * size.w, row * size.h, size.w, size.h).meet(rect))
}

/// The size of the pieces, of at most `most` pixels, in which a part of a wavelet-transformed level of size `whole` is read: as
/// square as possible, because neighbouring pieces decode the code-blocks at their edges, but few if the level is flat.
fn transformed(part: Size, whole: Size, most: u32) -> Size {
    let area = TRANSFORMED.min(most).max(1);
    let side = area.isqrt();
    // a thinner part takes the memory of its code-blocks
    let h = part.h.max(NARROW).min(whole.h).clamp(1, side);
    let w = (area / h).min(part.w.max(NARROW)).min(whole.w).max(1);
    Size::new(w, area / w)
}

/// The mean of each square with sides of `factor` pixels.
fn reduced(piece: Piece, factor: u32) -> Piece {
    match piece {
        Piece::Pixels(raster) if factor > 1 => Piece::Pixels(reduce(&raster, factor)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Samples;
    use crate::source::Grid;
    use crate::source::derived::origins::TILE;
    use crate::source::level::LevelShared;
    use crate::source::synthetic::Synthetic;
    use crate::source::synthetic::sample;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    #[test]
    fn pieces_of_transformed_levels_are_square_or_as_few_as_the_level_allows() {
        let huge = Size::new(1 << 30, 1 << 30);
        assert_eq!(transformed(huge, huge, u32::MAX), Size::new(512, 512));
        // with many channels
        assert_eq!(transformed(huge, huge, 1 << 16), Size::new(256, 256));
        let flat = Size::new(1 << 30, 1);
        assert_eq!(transformed(flat, flat, u32::MAX), Size::new(1 << 18, 1));
        // code-blocks are 64 pixels high
        assert_eq!(transformed(flat, huge, u32::MAX), Size::new(4096, 64));
        let narrow = Size::new(1, 1 << 30);
        assert_eq!(transformed(narrow, narrow, u32::MAX), Size::new(1, 1 << 18));
        assert_eq!(transformed(narrow, huge, 0), Size::new(1, 1));
    }

    /// A level that counts the tiles read.
    struct Counted(Synthetic, Arc<AtomicUsize>);

    impl Source for Counted {
        fn header(&self) -> &Header {
            self.0.header()
        }

        fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
            window::of_tiles(&self.header().levels, window, keep, take, |tile| {
                self.1.fetch_add(1, Ordering::Relaxed);
                window::tile(&self.0, tile, &NoCache)
            })
        }
    }

    fn level(w: u32, h: u32, tile: (u32, u32)) -> Level {
        Level::tiled(Size::new(w, h), Size::new(tile.0, tile.1))
    }

    fn source(levels: Vec<Level>) -> (Box<dyn Source>, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let synthetic = Synthetic::new(levels, 3, sample);
        (Box::new(Counted(synthetic, reads.clone())), reads)
    }

    fn spool_dir() -> Option<Arc<SpoolDir>> {
        Some(Arc::new(SpoolDir::new(std::env::temp_dir(), 10 << 30)))
    }

    /// Each sample of a level as the mean of those of level 0.
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
        window::raster(source, Window::new(level, rect), &NoCache).unwrap()
    }

    /// A picture in strips, with all levels.
    fn striped(size: Size) -> Box<dyn Source> {
        let mut stored = level(size.w, size.h, (size.w, 37));
        stored.grid = Grid::Strips;
        let budget = Budget {
            level_bytes: 1 << 30,
            ..Budget::default()
        };
        DerivedLevels::over(source(vec![stored]).0, &budget)
    }

    /// The numbers of the levels that are made as a whole, and what is shared by their windows.
    fn wholes(levels: &[Level]) -> Vec<(usize, &LevelShared)> {
        let wholes = levels.iter().enumerate();
        let wholes = wholes.filter_map(|(index, level)| match &level.parts {
            Parts::Shared(shared) => Some((index, &**shared)),
            _ => None,
        });
        wholes.collect()
    }

    #[test]
    fn the_effort_of_a_whole_level_counts_its_pieces_and_cached_strips() {
        let source = striped(Size::new(30_000, 20_000));
        let wholes = wholes(&source.header().levels);
        let wholes: Vec<u64> = wholes.iter().map(|(_, shared)| shared.effort.held * 3).collect();
        assert!(
            wholes
                .iter()
                .any(|bytes| (2 * PIECES - 3..2 * PIECES).contains(bytes)),
            "{wholes:?}"
        );
    }

    #[test]
    fn the_effort_of_a_level_includes_the_larger_ones_that_are_made_before() {
        let size = Size::new(30_000, 20_000);
        let source = striped(size);
        let levels = &source.header().levels;
        let mut wholes = wholes(levels);
        let last = levels.len() - 1;
        let effort = || levels[last].effort(Window::new(last, Rect::new(0, 0, 9, 9)), &NoCache);
        assert_eq!(effort().pixels, size.area());
        assert!(effort().shared);
        let (index, smallest) = wholes.pop().unwrap();
        assert_eq!(index, last);
        assert!(wholes.len() > 1);
        for (index, shared) in wholes {
            shared.progress.done();
            assert_eq!(effort().pixels, levels[index].size.area(), "{index}");
        }
        smallest.progress.done();
        assert_eq!(effort().pixels, 9 * 64);
    }

    /// A strip that can only be read from top to bottom, with a counter.
    struct Strip(Synthetic, Arc<AtomicUsize>);

    impl Source for Strip {
        fn header(&self) -> &Header {
            self.0.header()
        }

        fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
            let size = self.header().levels[window.level].size;
            if window.rect != Rect::of(size) {
                return Err(Error::TooLarge("no tile of it fits".into()));
            }
            self.1.fetch_add(1, Ordering::Relaxed);
            for y in (0..size.h).step_by(100) {
                let rect = Rect::new(0, y, size.w, (size.h - y).min(100));
                self.0.read(Window { rect, ..window }, keep, take)?;
            }
            Ok(())
        }
    }

    #[test]
    fn a_strip_beyond_memory_is_read_once_for_all_levels_or_refused() {
        let full = Size::new(1500, 1100);
        let strip = || {
            let reads = Arc::new(AtomicUsize::new(0));
            let mut level = level(full.w, full.h, (full.w, full.h));
            level.grid = Grid::Order;
            let synthetic = Synthetic::new(vec![level], 3, sample);
            (Box::new(Strip(synthetic, reads.clone())), reads)
        };
        for level_bytes in [0, 1 << 20] {
            let (inner, reads) = strip();
            let budget = Budget {
                level_bytes,
                spool_dir: spool_dir(),
                ..Budget::default()
            };
            let derived = DerivedLevels::over(inner, &budget);
            for (index, found) in derived.header().levels.iter().enumerate() {
                let wanted = expected(full, u32::try_from(index).unwrap());
                assert_eq!(found.size, wanted.size);
                assert!(worst(&all(&*derived, index), &wanted) <= 12, "{index}");
            }
            assert_eq!(reads.load(Ordering::Relaxed), 1, "decoded once");
        }
        let (inner, _) = strip();
        let derived = DerivedLevels::over(inner, &Budget::default());
        let rect = Rect::new(0, 0, 10, 10);
        for level in 0..derived.header().levels.len() {
            let refused = window::raster(&*derived, Window::new(level, rect), &NoCache);
            assert!(
                matches!(refused, Err(Error::Limit(_) | Error::TooLarge(_))),
                "{level}"
            );
        }
    }

    #[test]
    fn derived_levels_hold_means_of_the_full_size() {
        let full = Size::new(1500, 1100);
        for (tile, grid) in [((64, 64), Grid::Tiles), ((1500, 37), Grid::Strips)] {
            for level_bytes in [0, 1 << 20] {
                let mut stored = level(full.w, full.h, tile);
                stored.grid = grid;
                let (inner, _) = source(vec![stored]);
                let budget = Budget {
                    level_bytes,
                    spool_dir: None,
                    ..Budget::default()
                };
                let derived = DerivedLevels::over(inner, &budget);
                assert!(derived.header().levels.len() >= 4);
                for (index, found) in derived.header().levels.iter().enumerate() {
                    let wanted = expected(full, u32::try_from(index).unwrap());
                    assert_eq!(found.size, wanted.size);
                    // from the third on, a level may be derived from a rounded one, and edges are weighted
                    // differently there
                    let bound = if level_bytes == 0 || index <= 2 { 0 } else { 12 };
                    let worst = worst(&all(&*derived, index), &wanted);
                    assert!(worst <= bound, "{index} {grid:?} {level_bytes}: off by {worst}");
                }
            }
        }
    }

    #[test]
    fn pieces_of_wide_levels_join_in_any_window() {
        let full = Size::new(6001, 501);
        let (inner, _) = source(vec![level(full.w, full.h, (64, 501))]);
        let made = DerivedLevels::over(inner, &Budget::default());
        assert!(u64::from(full.w) * 3 * 501 > BYTES, "more than is read at once");
        for index in [1, 2] {
            let whole = expected(full, u32::try_from(index).unwrap());
            assert_eq!(worst(&all(&*made, index), &whole), 0, "{index}");
            let rect = Rect::new(7, 3, whole.size.w - 9, whole.size.h - 5);
            let part = window::raster(&*made, Window::new(index, rect), &NoCache).unwrap();
            let mut wanted = window::blank(rect.size(), &whole).unwrap();
            window::put(&whole, Rect::of(whole.size), &mut wanted, rect).unwrap();
            assert_eq!(worst(&part, &wanted), 0, "{index}");
        }
    }

    #[test]
    fn a_spooled_level_is_written_once() {
        let full = Size::new(1500, 1100);
        let (inner, reads) = source(vec![level(full.w, full.h, (1500, 37))]);
        let spooled = |from, factor| LevelOrigin::Whole {
            from,
            factor,
            spooled: true,
        };
        let shape = |size| LevelShape { size, tile: TILE };
        let planned = vec![
            (shape(full), spooled(Base::File(0), 1)),
            (shape(Size::new(750, 550)), spooled(Base::Header(0), 2)),
        ];
        let unspooled = vec![LevelOrigin::Refused("CACHE_DIR"); 2];
        let derived = DerivedLevels::by(inner, planned, unspooled, spool_dir());
        std::thread::scope(|scope| {
            for index in [0, 1, 0, 1] {
                let derived = &derived;
                scope.spawn(move || {
                    let wanted = expected(full, u32::try_from(index).unwrap());
                    assert_eq!(worst(&all(derived, index), &wanted), 0);
                });
            }
        });
        assert_eq!(reads.load(Ordering::Relaxed), 30, "each strip was decoded once");
    }
}
