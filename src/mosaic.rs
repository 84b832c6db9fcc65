//! Assembles a window from the stored tiles that it touches; each is decoded once.
//!
//! Tiles that adjacent regions share are cached. A window that is one tile, or larger than half of the cache, bypasses it.

use crate::cache::Cache;
use crate::cache::Cached;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::library::Opened;
use crate::plan::Key;
use crate::raster::Raster;
use crate::raster::gather;
use crate::raster::strip;
use crate::source::Decoding;
use crate::source::Effort;
use crate::source::Piece;
use crate::source::Tile;
use crate::source::Window;
use crate::source::cache::BandCache;
use crate::source::cache::NoCache;
use crate::source::cache::Packer;
use crate::source::cache::Part;
use crate::source::cache::TileCache;
use crate::source::window;
use crate::store::DiskCache;
use crate::work::parallel;
use std::sync::Arc;

/// Maximum number of pixels of a window that is read as a whole where the decoder uses all threads itself; its coefficients take some
/// tens of MB.
const AT_ONCE: u64 = 1 << 20;

/// Maximum number of bytes of blank rows that are in memory at a time.
const VACANT: usize = 1 << 20;

/// Reads windows.
pub struct Mosaic {
    threads: usize,
    disk: DiskCache,
}

impl Mosaic {
    /// Large windows use up to `threads` threads, if they are free.
    pub fn new(threads: usize) -> Self {
        Mosaic {
            threads: threads.max(1),
            disk: DiskCache::default(),
        }
    }

    /// Stores derived levels on this disk.
    pub fn keeping(self, disk: DiskCache) -> Self {
        Mosaic { disk, ..self }
    }

    /// The cache restricted to one image.
    fn in_cache<'a>(&'a self, opened: &'a Opened, cache: &'a Cache<Key>) -> InCache<'a> {
        InCache {
            opened,
            cache,
            disk: &self.disk,
        }
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Maps `items` in parallel; results keep their order.
    pub fn each<T: Send, U: Send + Sync>(
        &self,
        items: Vec<T>,
        make: impl Fn(T) -> Result<U> + Sync,
    ) -> Result<Vec<U>> {
        parallel::map(self.threads - 1, items, make)
    }

    /// The cost of reading a window now.
    pub fn effort(&self, opened: &Opened, window: Window, cache: &Cache<Key>) -> Effort {
        opened
            .source
            .header()
            .effort(window, &self.in_cache(opened, cache))
    }

    /// Reads a window without the cache: rasters from top to bottom, each passed through `finish`.
    pub fn read_past<T: Send + Sync>(
        &self,
        opened: &Opened,
        window: Window,
        cache: &Cache<Key>,
        finish: impl Fn(Raster) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        self.bands(opened, window, cache, false, finish)
    }

    /// Reads a window, which must be inside its level: rasters from top to bottom, each passed through `finish`.
    pub fn strips<T: Send + Sync>(
        &self,
        opened: &Opened,
        window: Window,
        cache: &Cache<Key>,
        finish: impl Fn(Raster) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let bytes = window.rect.size().area() * u64::from(opened.source.header().channels);
        let kept = bytes < cache.max_bytes() / 2;
        self.bands(opened, window, cache, kept, finish)
    }

    /// Reads a window as one raster.
    pub fn read(&self, opened: &Opened, window: Window, cache: &Cache<Key>) -> Result<Raster> {
        gather(self.strips(opened, window, cache, |raster| Ok(strip(raster)))?)
    }

    /// Reads a window that is likely to be requested again with other settings, as by a slider: tiles that are expensive to
    /// decode are cached.
    pub fn read_again(&self, opened: &Opened, window: Window, cache: &Cache<Key>) -> Result<Raster> {
        let levels = &opened.source.header().levels;
        let is_parallel = |tile: &Tile| {
            let level = levels.get(tile.level);
            level.is_some_and(|level| level.decoding == Decoding::Parallel)
        };
        let tile = window.tile(levels).filter(is_parallel);
        match tile.filter(|_| window.layers.is_none()) {
            Some(tile) => {
                let keep = self.in_cache(opened, cache);
                let raster = keep.keep(Part::Tile(tile), &mut || self.read(opened, window, cache))?;
                Ok(Arc::unwrap_or_clone(raster))
            }
            None => self.read(opened, window, cache),
        }
    }

    /// Reads a window in bands from top to bottom, one per row of tiles, in parallel.
    fn bands<T: Send + Sync>(
        &self,
        opened: &Opened,
        window: Window,
        cache: &Cache<Key>,
        kept: bool,
        finish: impl Fn(Raster) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let source = &opened.source;
        let header = source.header();
        let level = header
            .levels
            .get(window.level)
            .ok_or_else(|| Error::Outside("no such level".into()))?;
        let rect = window.rect;
        let cached = self.in_cache(opened, cache);
        let memo = BandCache::over(&cached);
        let keep: &dyn TileCache = if kept { &cached } else { &memo };
        if window.tile(&header.levels).is_some() && window.layers.is_none() {
            let tile = window::of_tile(&**source, window, if kept { &cached } else { &NoCache })?;
            return finish_piece(tile, rect.size(), &finish);
        }
        if level.decoding == Decoding::Parallel && rect.size().area() <= AT_ONCE {
            return finish_piece(window::piece(&**source, window, keep)?, rect.size(), &finish);
        }
        let rows: Vec<u32> = rect.cells(level.tile).1.collect();
        let band = |row: u32| {
            let place = Rect::new(rect.x, row * level.tile.h, rect.w, level.tile.h)
                .meet(rect)
                .ok_or_else(|| Error::Internal(format!("no pixels in row {row} of tiles")))?;
            let window = Window {
                rect: place,
                ..window
            };
            finish_piece(window::piece(&**source, window, keep)?, place.size(), &finish)
        };
        Ok(self.each(rows, band)?.into_iter().flatten().collect())
    }
}

/// A raster of this size, passed through `finish`. Where the file has no data only some rows are in memory at a time.
fn finish_piece<T>(piece: Piece, size: Size, finish: impl Fn(Raster) -> Result<T>) -> Result<Vec<T>> {
    let pixel = match piece {
        Piece::Pixels(raster) => return Ok(vec![finish(raster)?]),
        Piece::Vacant(pixel) => pixel,
    };
    let row = pixel.samples.bytes().saturating_mul(size.w as usize);
    let rows = u32::try_from(VACANT / row.max(1))
        .unwrap_or(size.h)
        .clamp(1, size.h);
    let tops = (0..size.h).step_by(rows as usize);
    let band = |top| window::filled(&pixel, Size::new(size.w, rows.min(size.h - top)));
    tops.map(|top| finish(band(top))).collect()
}

/// The cache restricted to one image.
struct InCache<'a> {
    opened: &'a Opened,
    cache: &'a Cache<Key>,
    disk: &'a DiskCache,
}

impl InCache<'_> {
    /// A derived level, from the cache on disk if it is there.
    fn load_or_make(&self, key: &Key, make: &mut dyn FnMut() -> Result<Raster>) -> Result<Raster> {
        let name = key.digest(&());
        let found = self.disk.read(name);
        if let Some(level) = found.as_deref().and_then(Raster::from_bytes) {
            return Ok(level);
        }
        let level = make()?;
        self.disk.put(name, level.to_bytes().into());
        Ok(level)
    }
}

impl TileCache for InCache<'_> {
    fn keep(&self, part: Part, make: &mut dyn FnMut() -> Result<Raster>) -> Result<Arc<Raster>> {
        let key = Key::decoded(self.opened.identity.clone(), part);
        let lasts = matches!(part, Part::Level(_)) && self.disk.is_on();
        let make = || {
            let made = if lasts {
                self.load_or_make(&key, make)
            } else {
                make()
            };
            Ok(Cached::Raster(Arc::new(made?)))
        };
        match self.cache.get_or_make(&key, make)? {
            Cached::Raster(raster) => Ok(raster),
            Cached::Answer(_) => Err(Error::Internal("a part's key holds an answer".into())),
        }
    }

    fn packs(&self) -> bool {
        self.cache.max_bytes() > 0
    }

    fn pack(&self, part: Part, make: &mut Packer) -> Result<()> {
        let key = Key::decoded(self.opened.identity.clone(), part);
        self.cache.recent(&key, make)
    }

    fn holds(&self, part: Part) -> bool {
        let key = Key::decoded(self.opened.identity.clone(), part);
        self.cache.find(&key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Library;
    use crate::library::LibrarySettings;
    use crate::raster::Samples;
    use crate::source::Header;
    use crate::source::Source;
    use crate::source::Take;
    use crate::source::synthetic::Synthetic;
    use crate::source::synthetic::sample;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    #[test]
    fn an_expensive_tile_that_is_read_again_is_cached() {
        struct Expensive(Synthetic, Arc<AtomicUsize>);
        impl Source for Expensive {
            fn header(&self) -> &Header {
                self.0.header()
            }
            fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
                self.1.fetch_add(1, Ordering::Relaxed);
                self.0.read(window, keep, take)
            }
        }
        let mut made = Synthetic::halving(Size::new(500, 300), Size::new(64, 32), 3);
        made.header_mut().levels[0].decoding = Decoding::Parallel;
        let mut library = Library::new(LibrarySettings::default(), 0);
        let reads = Arc::new(AtomicUsize::new(0));
        library.insert("expensive", Expensive(made, reads.clone()));
        let opened = library.open("expensive").unwrap();
        let (mosaic, cache) = (Mosaic::new(1), Cache::new(1 << 20));
        let tile = Window::new(0, Rect::new(64, 32, 64, 32));
        let first = mosaic.read(&opened, tile, &cache).unwrap();
        let before = cache.bytes();
        for _ in 0..3 {
            assert_eq!(mosaic.read_again(&opened, tile, &cache).unwrap(), first);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 2);
        let held = cache.bytes() - before;
        assert!((64 * 32 * 3..64 * 32 * 3 + 1000).contains(&held), "{held} bytes");
        // windows that are cheap, no tile or limited to fewer layers are not cached
        let before = cache.bytes();
        let cheap = Window::new(1, Rect::new(64, 32, 64, 32));
        let layers = Window {
            layers: Some(1),
            ..tile
        };
        for window in [cheap, layers] {
            mosaic.read_again(&opened, window, &cache).unwrap();
        }
        assert_eq!(cache.bytes(), before);
    }

    #[test]
    fn vacant_areas_are_filled_a_few_rows_at_a_time() {
        let pixel = || Raster {
            size: Size::new(1, 1),
            channels: 139,
            samples: Samples::F32(vec![0.5; 139]),
        };
        let rows = |size: Size| {
            let heights = finish_piece(Piece::Vacant(pixel()), size, |raster| {
                assert!(raster.samples.bytes() <= VACANT || raster.size.h == 1);
                assert_eq!(raster.samples.bytes() as u64, raster.size.area() * 139 * 4);
                assert_eq!(raster.size.w, size.w);
                Ok(raster.size.h)
            });
            heights.unwrap()
        };
        assert_eq!(rows(Size::new(256, 8)), [7, 1]);
        assert_eq!(rows(Size::new(16, 16)), [16]);
        assert_eq!(rows(Size::new(1 << 12, 2)), [1, 1]);
    }

    #[test]
    fn a_window_holds_the_pixels_of_its_tiles_whatever_the_threads_and_the_cache() {
        let mut library = Library::new(LibrarySettings::default(), 0);
        library.insert(
            "made",
            Synthetic::halving(Size::new(500, 300), Size::new(64, 32), 3),
        );
        let opened = library.open("made").unwrap();
        for (threads, bytes) in [(1, 0), (4, 1 << 20), (4, 0)] {
            let (mosaic, cache) = (Mosaic::new(threads), Cache::new(bytes));
            for rect in [
                Rect::new(0, 0, 500, 300),
                Rect::new(63, 31, 3, 3),
                Rect::new(64, 32, 64, 32),
                Rect::new(1, 250, 499, 50),
            ] {
                let raster = mosaic.read(&opened, Window::new(0, rect), &cache).unwrap();
                let Samples::U8(data) = &raster.samples else {
                    panic!("8 bit")
                };
                assert_eq!(raster.size, rect.size());
                let expected: Vec<u8> = (rect.y..rect.y + rect.h)
                    .flat_map(|y| (rect.x..rect.x + rect.w).map(move |x| (x, y)))
                    .flat_map(|(x, y)| (0..3).map(move |c| sample(x, y, 0, c)))
                    .collect();
                assert_eq!(data, &expected);
            }
        }
    }
}
