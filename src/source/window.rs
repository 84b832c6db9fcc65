//! Assembles any rectangle of a level from the tiles that it touches.
//!
//! Tiles that neighbouring windows share are offered to a [`TileCache`].

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::raster::any_depth;
use crate::source::Level;
use crate::source::Piece;
use crate::source::Source;
use crate::source::Take;
use crate::source::Tile;
use crate::source::Window;
use crate::source::cache::Part;
use crate::source::cache::Renamed;
use crate::source::cache::TileCache;
use crate::source::cache::not_tiles;
use crate::uninit;
use crate::work::check;
use std::sync::Arc;

/// Reads the samples of a window.
pub fn raster<S: Source + ?Sized>(source: &S, window: Window, keep: &dyn TileCache) -> Result<Raster> {
    piece(source, window, keep).map(|piece| piece.raster(window.rect.size()))
}

/// Reads a tile of the header's grid. `Error::Outside` when there is no such tile.
pub fn tile<S: Source + ?Sized>(source: &S, tile: Tile, keep: &dyn TileCache) -> Result<Raster> {
    let rect = tile.rect(&source.header().levels).ok_or_else(|| outside(tile))?;
    of_tile(source, Window::new(tile.level, rect), keep).map(|piece| piece.raster(rect.size()))
}

/// Reads a window that is a tile.
pub fn of_tile<S: Source + ?Sized>(source: &S, window: Window, keep: &dyn TileCache) -> Result<Piece> {
    // caching of tiles is up to the caller
    let below = Renamed {
        keep,
        name: &not_tiles,
    };
    piece(source, window, &below)
}

/// The error for a missing tile.
pub fn outside(tile: Tile) -> Error {
    let Tile { level, col, row } = tile;
    Error::Outside(format!("no tile {col},{row} in level {level}"))
}

/// Reads a window as one piece.
pub fn piece<S: Source + ?Sized>(source: &S, window: Window, keep: &dyn TileCache) -> Result<Piece> {
    let mut out = None;
    source.read(window, keep, &mut |piece, at| {
        if at == window.rect {
            out = Some(piece);
            return Ok(());
        }
        let band = piece.raster(at.size());
        if let Some(Piece::Pixels(all)) = &mut out {
            return put(&band, at, all, window.rect);
        }
        let mut all = blank(window.rect.size(), &band)?;
        put(&band, at, &mut all, window.rect)?;
        out = Some(Piece::Pixels(all));
        Ok(())
    })?;
    out.ok_or_else(|| Error::Outside("an empty window".into()))
}

/// Passes a window, which must be inside its level, to `take`, assembled from the tiles that `decode` returns.
pub fn of_tiles(
    levels: &[Level],
    window: Window,
    keep: &dyn TileCache,
    take: &mut Take,
    decode: impl Fn(Tile) -> Result<Raster>,
) -> Result<()> {
    of_parts(levels, window, keep, take, decode, |_, _| Ok(None))
}

/// If a window shows at most this fraction (1/n) of a tile's pixels, only those are read where possible.
const SLIVER: u64 = 8;

/// Like [`of_tiles`], but `part` may return a rectangle of a tile, in pixels of the level, if it can read it alone.
pub fn of_parts(
    levels: &[Level],
    window: Window,
    keep: &dyn TileCache,
    take: &mut Take,
    decode: impl Fn(Tile) -> Result<Raster>,
    part: impl Fn(Tile, Rect) -> Result<Option<Raster>>,
) -> Result<()> {
    let none = || Error::Outside("no such level".into());
    let grid = levels.get(window.level).ok_or_else(none)?.tile;
    let rect = window.rect;
    let (cols, rows) = rect.cells(grid);
    let mut out: Option<Raster> = None;
    for row in rows {
        for col in cols.clone() {
            let tile = Tile {
                level: window.level,
                col,
                row,
            };
            let cell = tile.rect(levels).ok_or_else(|| outside(tile))?;
            check()?;
            let is_sliver = |shown: &Rect| shown.size().area() <= cell.size().area() / SLIVER;
            let sliver = cell.meet(rect).filter(is_sliver);
            let read = sliver.map_or(Ok(None), |shown| part(tile, shown))?;
            let (raster, cell) = match read.zip(sliver) {
                Some((raster, shown)) => (Arc::new(raster), shown),
                None => (keep.keep(Part::Tile(tile), &mut || decode(tile))?, cell),
            };
            if cell == rect {
                return take(Piece::Pixels(Arc::unwrap_or_clone(raster)), rect);
            }
            let out = match &mut out {
                Some(out) => out,
                none => none.insert(blank(rect.size(), &raster)?),
            };
            put(&raster, cell, out, rect)?;
        }
    }
    let all = out.ok_or_else(|| Error::Outside("an empty window".into()))?;
    take(Piece::Pixels(all), rect)
}

/// A raster that repeats the first pixel of `pixel`.
pub fn filled(pixel: &Raster, size: Size) -> Raster {
    let count = usize::try_from(size.area()).unwrap_or(0);
    Raster {
        size,
        channels: pixel.channels,
        samples: any_depth!(&pixel.samples, pixel => pixel.repeat(count)),
    }
}

/// A raster of zeros with the depth and channels of `model`.
pub fn blank(size: Size, model: &Raster) -> Result<Raster> {
    let count = usize::try_from(size.area()).unwrap_or(0) * usize::from(model.channels);
    Ok(Raster {
        size,
        channels: model.channels,
        samples: any_depth!(&model.samples, _model => uninit::zeros(count)?),
    })
}

fn unlike() -> Error {
    Error::Corrupt("tiles of one level differ in depth or channels".into())
}

/// Copies the part of `from`, which covers `cell`, that overlaps `to`, which covers `place`.
pub fn put(from: &Raster, cell: Rect, to: &mut Raster, place: Rect) -> Result<()> {
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
