//! Reads windows from tiles: any rectangle of a level, assembled from the cells it touches.
//!
//! Tiles that neighbours share are offered to a [`TileCache`], which may keep them for the next window.

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

/// The samples of a window.
pub fn raster<S: Source + ?Sized>(source: &S, window: Window, keep: &dyn TileCache) -> Result<Raster> {
    piece(source, window, keep).map(|piece| piece.raster(window.rect.size()))
}

/// The samples of a tile of the header's grid. `Error::Outside` when there is no such tile.
pub fn tile<S: Source + ?Sized>(source: &S, tile: Tile, keep: &dyn TileCache) -> Result<Raster> {
    let rect = tile.rect(&source.header().levels).ok_or_else(|| outside(tile))?;
    of_tile(source, Window::new(tile.level, rect), keep).map(|piece| piece.raster(rect.size()))
}

/// A window that is a tile.
pub fn of_tile<S: Source + ?Sized>(source: &S, window: Window, keep: &dyn TileCache) -> Result<Piece> {
    // what one tile leaves behind is of use to others only
    let below = Renamed {
        keep,
        name: &not_tiles,
    };
    piece(source, window, &below)
}

/// There is no such tile.
pub fn outside(tile: Tile) -> Error {
    let Tile { level, col, row } = tile;
    Error::Outside(format!("no tile {col},{row} in level {level}"))
}

/// A window in one piece.
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

/// Gives a window, which lies inside its level, out of tiles that `decode` gives.
pub fn of_tiles(
    levels: &[Level],
    window: Window,
    keep: &dyn TileCache,
    take: &mut Take,
    decode: impl Fn(Tile) -> Result<Raster>,
) -> Result<()> {
    of_parts(levels, window, keep, take, decode, |_, _| Ok(None))
}

/// Of a tile of which a window shows at most one pixel in this many, only those are read where that is possible.
const SLIVER: u64 = 8;

/// Like [`of_tiles`]. Of a tile `part` may give a rectangle of the level alone, if it can read that without the rest.
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
    let end = |edge: u64, side: u32| u32::try_from(edge.div_ceil(u64::from(side))).unwrap_or(u32::MAX);
    let mut out: Option<Raster> = None;
    for row in rect.y / grid.h..end(rect.bottom(), grid.h) {
        for col in rect.x / grid.w..end(rect.right(), grid.w) {
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

/// A raster all of whose pixels are like the first one of `pixel`.
pub fn filled(pixel: &Raster, size: Size) -> Raster {
    let count = usize::try_from(size.area()).unwrap_or(0);
    Raster {
        size,
        channels: pixel.channels,
        samples: any_depth!(&pixel.samples, of => of.repeat(count)),
    }
}

/// A raster of zeros like `model`.
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

/// Copies the part of `from`, which lies at `cell`, that falls into `to`, which lies at `place`.
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
