//! From a window to a raster: the stored tiles it touches, read once each and put together.
//!
//! Tiles that a region shares with its neighbours are kept in the cache; a window that is a tile, or that is larger
//! than half of the cache, goes past it. Knows no plan.

use crate::cache::Cache;
use crate::cache::Cached;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::library::Opened;
use crate::plan::Key;
use crate::raster::Raster;
use crate::source::Tile;
use crate::source::Window;
use crate::source::window::Forgetful;
use crate::source::window::Keep;
use crate::source::window::Memo;
use crate::source::window::Packer;
use crate::source::window::Part;
use crate::source::window::stack;
use bytes::Bytes;
use rayon::ThreadPool;
use rayon::iter::IntoParallelIterator;
use rayon::iter::ParallelIterator;
use std::sync::Arc;

/// Pixels of a window that is read at once where that takes all threads anyway: its coefficients are some tens of MB.
const AT_ONCE: u64 = 1 << 20;

/// Puts windows together.
pub struct Mosaic {
    /// For windows of many tiles; `None` with one thread.
    pool: Option<ThreadPool>,
}

impl Mosaic {
    /// A mosaic whose large windows use this many threads.
    pub fn new(threads: usize) -> Self {
        let build = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|i| format!("tiles-{i}"))
        };
        Mosaic {
            pool: (threads > 1).then(|| build().build().ok()).flatten(),
        }
    }

    /// How many threads it uses.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    /// The same of each, in their order, side by side. What is done may not wait for others.
    pub fn each<T: Send, U: Send>(
        &self,
        of: Vec<T>,
        make: impl Fn(T) -> Result<U> + Send + Sync,
    ) -> Result<Vec<U>> {
        match &self.pool {
            Some(pool) if of.len() > 1 => pool.install(|| of.into_par_iter().map(make).collect()),
            _ => of.into_iter().map(make).collect(),
        }
    }

    /// The samples of a window, past the cache: of one that is read once.
    pub fn read_past(&self, opened: &Opened, window: Window, cache: &Cache<Key>) -> Result<Raster> {
        self.put(opened, window, cache, false)
    }

    /// The samples of a window. The window lies inside its level.
    pub fn read(&self, opened: &Opened, window: Window, cache: &Cache<Key>) -> Result<Raster> {
        let bytes = window.rect.size().area() * u64::from(opened.source.header().channels);
        self.put(opened, window, cache, bytes < cache.max_bytes() / 2)
    }

    fn put(&self, opened: &Opened, window: Window, cache: &Cache<Key>, kept: bool) -> Result<Raster> {
        let source = &opened.source;
        let header = source.header();
        let level = header
            .levels
            .get(window.level)
            .ok_or_else(|| Error::Outside("no such level".into()))?;
        let rect = window.rect;
        let first = Tile {
            level: window.level,
            col: rect.x / level.tile.w,
            row: rect.y / level.tile.h,
        };
        let cached = InCache { opened, cache };
        let memo = Memo::over(&cached);
        let keep: &dyn Keep = if kept { &cached } else { &memo };
        if first.rect(&header.levels) == Some(rect) && window.layers.is_none() {
            // what one tile leaves behind is of use to others only
            return source.read_keeping(first, if kept { &cached } else { &Forgetful });
        }
        if source.shares_work(window.level) && rect.size().area() <= AT_ONCE {
            return source.window(window, keep);
        }
        // one band of the output per row of tiles: bands are made side by side and follow each other in memory
        let end = rect.bottom().div_ceil(u64::from(level.tile.h));
        let rows: Vec<u32> = (first.row..u32::try_from(end).unwrap_or(u32::MAX)).collect();
        let band = |row: u32| -> Result<Raster> {
            let place = Rect::new(rect.x, row * level.tile.h, rect.w, level.tile.h)
                .meet(rect)
                .ok_or_else(|| Error::Outside("no such row".into()))?;
            source.window(
                Window {
                    rect: place,
                    ..window
                },
                keep,
            )
        };
        let bands: Vec<Raster> = match &self.pool {
            Some(pool) if rows.len() > 1 => {
                pool.install(|| rows.into_par_iter().map(band).collect::<Result<_>>())?
            }
            _ => rows.into_iter().map(band).collect::<Result<_>>()?,
        };
        stack(bands, rect.size())
    }
}

/// The cache, as far as one image is concerned.
struct InCache<'a> {
    opened: &'a Opened,
    cache: &'a Cache<Key>,
}

impl Keep for InCache<'_> {
    fn keep(&self, part: Part, make: &mut dyn FnMut() -> Result<Raster>) -> Result<Arc<Raster>> {
        let key = Key::decoded(self.opened.identity.clone(), part);
        let make = || Ok(Cached::Raster(Arc::new(make()?)));
        match self.cache.get_or_make(&key, make)? {
            Cached::Raster(raster) => Ok(raster),
            Cached::Answer(_) => Err(Error::Corrupt("a part's key holds an answer".into())),
        }
    }

    fn pack(&self, part: Part, make: &mut Packer) -> Result<Bytes> {
        let key = Key::decoded(self.opened.identity.clone(), part);
        self.cache.recent(&key, make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::library::Library;
    use crate::library::Shelf;
    use crate::raster::Samples;
    use crate::source::synthetic::Synthetic;
    use crate::source::synthetic::sample;

    #[test]
    fn a_window_holds_the_pixels_of_its_tiles_whatever_the_threads_and_the_cache() {
        let mut library = Library::new(Shelf::default(), 0);
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
