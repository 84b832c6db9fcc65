//! From a window to a raster: the stored tiles it touches, read once each and put together.
//!
//! Tiles that a region shares with its neighbours are kept in the cache; a window that is a tile, or that is larger
//! than half of the cache, goes past it. Knows no plan.

use crate::cache::Cache;
use crate::cache::Cached;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::library::Opened;
use crate::plan::Key;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::source::Tile;
use crate::source::Window;
use rayon::ThreadPool;
use rayon::iter::IntoParallelIterator;
use rayon::iter::ParallelIterator;
use std::sync::Arc;

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

    /// The samples of a window. The window lies inside its level.
    pub fn read(&self, opened: &Opened, window: Window, cache: &Cache<Key>) -> Result<Raster> {
        let header = opened.source.header();
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
        if first.rect(&header.levels) == Some(rect) {
            return opened.source.read(first);
        }
        let kept = rect.size().area() * u64::from(header.channels) < cache.max_bytes() / 2;
        let fetch = |tile: Tile| -> Result<Arc<Raster>> {
            if !kept {
                return opened.source.read(tile).map(Arc::new);
            }
            let make = || Ok(Cached::Raster(Arc::new(opened.source.read(tile)?)));
            match cache.get_or_make(&Key::tile(opened.identity.clone(), tile), make)? {
                Cached::Raster(raster) => Ok(raster),
                Cached::Answer(_) => Err(Error::Corrupt("a tile's key holds an answer".into())),
            }
        };
        let end = |edge: u64, side: u32| u32::try_from(edge.div_ceil(u64::from(side))).unwrap_or(u32::MAX);
        let columns = first.col..end(rect.right(), level.tile.w);
        let rows: Vec<u32> = (first.row..end(rect.bottom(), level.tile.h)).collect();
        // one band of the output per row of tiles: bands are made side by side and follow each other in memory
        let band = |row: u32| -> Result<Raster> {
            let all = Rect::new(rect.x, row * level.tile.h, rect.w, level.tile.h);
            let place = all
                .meet(rect)
                .ok_or_else(|| Error::Outside("no such row".into()))?;
            let mut band: Option<Raster> = None;
            for col in columns.clone() {
                let tile = Tile { col, row, ..first };
                let cell = tile
                    .rect(&header.levels)
                    .ok_or_else(|| Error::Outside("no such tile".into()))?;
                let raster = fetch(tile)?;
                let out = band.get_or_insert_with(|| blank(place.size(), &raster));
                copy(&raster, cell, out, place)?;
            }
            band.ok_or_else(|| Error::Outside("an empty window".into()))
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

/// A raster of zeros like `model`.
fn blank(size: Size, model: &Raster) -> Raster {
    let count = usize::try_from(size.area()).unwrap_or(0) * usize::from(model.channels);
    let samples = match &model.samples {
        Samples::U8(_) => Samples::U8(vec![0; count]),
        Samples::U16(_) => Samples::U16(vec![0; count]),
        Samples::U32(_) => Samples::U32(vec![0; count]),
        Samples::F32(_) => Samples::F32(vec![0.0; count]),
    };
    Raster {
        size,
        channels: model.channels,
        samples,
    }
}

fn unlike() -> Error {
    Error::Corrupt("tiles of one level differ in depth or channels".into())
}

/// Copies the part of `from`, which lies at `cell`, that falls into `to`, which lies at `place`.
fn copy(from: &Raster, cell: Rect, to: &mut Raster, place: Rect) -> Result<()> {
    let Some(shared) = cell.meet(place) else {
        return Ok(());
    };
    if from.channels != to.channels || from.size != cell.size() {
        return Err(unlike());
    }
    let channels = usize::from(from.channels);
    match (&from.samples, &mut to.samples) {
        (Samples::U8(from), Samples::U8(to)) => rows(from, cell, to, place, shared, channels),
        (Samples::U16(from), Samples::U16(to)) => rows(from, cell, to, place, shared, channels),
        (Samples::U32(from), Samples::U32(to)) => rows(from, cell, to, place, shared, channels),
        (Samples::F32(from), Samples::F32(to)) => rows(from, cell, to, place, shared, channels),
        _ => None,
    }
    .ok_or_else(unlike)
}

fn rows<T: Copy>(
    from: &[T],
    cell: Rect,
    to: &mut [T],
    place: Rect,
    shared: Rect,
    channels: usize,
) -> Option<()> {
    let index = |rect: Rect, y: u32| {
        ((y - rect.y) as usize * rect.w as usize + (shared.x - rect.x) as usize) * channels
    };
    let length = shared.w as usize * channels;
    for y in shared.y..shared.y + shared.h {
        let (source, target) = (index(cell, y), index(place, y));
        to.get_mut(target..target + length)?
            .copy_from_slice(from.get(source..source + length)?);
    }
    Some(())
}

/// Bands one below the other.
fn stack(bands: Vec<Raster>, size: Size) -> Result<Raster> {
    let mut bands = bands.into_iter();
    let mut all = bands.next().ok_or_else(unlike)?;
    let count = usize::try_from(size.area()).unwrap_or(0) * usize::from(all.channels);
    match &mut all.samples {
        Samples::U8(all) => all.reserve_exact(count.saturating_sub(all.len())),
        Samples::U16(all) => all.reserve_exact(count.saturating_sub(all.len())),
        Samples::U32(all) => all.reserve_exact(count.saturating_sub(all.len())),
        Samples::F32(all) => all.reserve_exact(count.saturating_sub(all.len())),
    }
    for band in bands {
        match (&mut all.samples, band.samples) {
            (Samples::U8(all), Samples::U8(band)) => all.extend_from_slice(&band),
            (Samples::U16(all), Samples::U16(band)) => all.extend_from_slice(&band),
            (Samples::U32(all), Samples::U32(band)) => all.extend_from_slice(&band),
            (Samples::F32(all), Samples::F32(band)) => all.extend_from_slice(&band),
            _ => return Err(unlike()),
        }
    }
    all.size = size;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Library;
    use crate::library::Shelf;
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
                let raster = mosaic.read(&opened, Window { level: 0, rect }, &cache).unwrap();
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
