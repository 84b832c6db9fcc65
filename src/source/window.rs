//! Reads windows from tiles: any rectangle of a level, assembled from the cells it touches.
//!
//! Tiles that neighbours share are offered to a [`TileCache`], which may keep them for the next window.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::recent::Recent;
use crate::room;
use crate::source::Level;
use crate::source::Piece;
use crate::source::Source;
use crate::source::Take;
use crate::source::Tile;
use crate::source::Window;
use crate::work::check;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Something decoded that another request may need again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A tile of the header's grid.
    Tile(Tile),
    /// A tile of the picture as it is stored, before its orientation was applied.
    Unturned(Tile),
    /// A strip, or a tile too large to be shown as one: a cell of the grid that the file has.
    Stored(Tile),
    /// A whole level that the file does not have.
    Level(usize),
    /// What a codec decodes on the way, under a name of its own.
    Coded([u32; 3]),
}

/// Where parts are held. Those who ask for one that is being made wait for it.
pub trait TileCache: Sync {
    /// The part, made by `make` if it is not held.
    fn keep(&self, part: Part, make: &mut dyn FnMut() -> Result<Raster>) -> Result<Arc<Raster>>;

    /// Whether packed parts are held.
    fn packs(&self) -> bool;

    /// Holds packed bytes that only the next window needs; `make` gets what is held, if anything, and returns what to hold
    /// from now on, or `None` to leave that as it is.
    fn pack(&self, part: Part, make: &mut Packer) -> Result<()>;

    /// Whether the part is held now.
    fn holds(&self, part: Part) -> bool {
        let _ = part;
        false
    }
}

/// Makes something packed of what is held.
pub type Packer<'a> = dyn FnMut(Option<Bytes>) -> Result<Option<Bytes>> + 'a;

/// Holds nothing.
pub struct NoCache;

impl TileCache for NoCache {
    fn keep(&self, _part: Part, make: &mut dyn FnMut() -> Result<Raster>) -> Result<Arc<Raster>> {
        make().map(Arc::new)
    }

    fn packs(&self) -> bool {
        false
    }

    fn pack(&self, _part: Part, make: &mut Packer) -> Result<()> {
        make(None).map(drop)
    }
}

/// A [`TileCache`] as a source below another one sees it, where the same tile has another name.
pub struct Renamed<'a> {
    /// Where parts are held.
    pub keep: &'a dyn TileCache,
    /// The name above; `None` for what shall not be held.
    pub name: &'a (dyn Fn(Part) -> Option<Part> + Sync),
}

/// Names of a level in strips below one in tiles.
pub fn as_stored(part: Part) -> Option<Part> {
    Some(match part {
        Part::Tile(tile) => Part::Stored(tile),
        other => other,
    })
}

/// Holds no tiles.
pub fn not_tiles(part: Part) -> Option<Part> {
    (!matches!(part, Part::Tile(_))).then_some(part)
}

impl TileCache for Renamed<'_> {
    fn keep(&self, part: Part, make: &mut dyn FnMut() -> Result<Raster>) -> Result<Arc<Raster>> {
        match (self.name)(part) {
            Some(part) => self.keep.keep(part, make),
            None => make().map(Arc::new),
        }
    }

    fn packs(&self) -> bool {
        self.keep.packs()
    }

    fn pack(&self, part: Part, make: &mut Packer) -> Result<()> {
        match (self.name)(part) {
            Some(part) => self.keep.pack(part, make),
            None => make(None).map(drop),
        }
    }

    fn holds(&self, part: Part) -> bool {
        (self.name)(part).is_some_and(|part| self.keep.holds(part))
    }
}

/// What the bands of one large window share: strips and packed parts for as long as it takes, and made levels.
pub struct BandCache<'a> {
    levels: &'a dyn TileCache,
    strips: Mutex<VecDeque<(Part, Strip)>>,
    packed: Recent<Part>,
}

/// Whoever comes first decodes it under this lock.
type Strip = Arc<Mutex<Option<Arc<Raster>>>>;

/// One strip for each of two neighbouring bands on each thread, about.
const MEMO: usize = 16;

/// Bytes of packed parts: about those that a band of 30 000 pixels shares with the next.
const PACKED: u64 = 48 << 20;

impl<'a> BandCache<'a> {
    /// A memo of strips, which leaves made levels to this.
    pub fn over(levels: &'a dyn TileCache) -> BandCache<'a> {
        BandCache {
            levels,
            strips: Mutex::default(),
            packed: Recent::new(PACKED),
        }
    }

    fn strip(&self, part: Part) -> Strip {
        let mut strips = self.strips.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, strip)) = strips.iter().find(|(known, _)| *known == part) {
            return strip.clone();
        }
        if strips.len() == MEMO {
            strips.pop_front();
        }
        let strip = Strip::default();
        strips.push_back((part, strip.clone()));
        strip
    }
}

impl TileCache for BandCache<'_> {
    fn keep(&self, part: Part, make: &mut dyn FnMut() -> Result<Raster>) -> Result<Arc<Raster>> {
        match part {
            Part::Stored(_) => {}
            Part::Level(_) => return self.levels.keep(part, make),
            Part::Tile(_) | Part::Unturned(_) | Part::Coded(_) => return make().map(Arc::new),
        }
        let strip = self.strip(part);
        let mut strip = strip.lock().unwrap_or_else(PoisonError::into_inner);
        match &*strip {
            Some(raster) => Ok(raster.clone()),
            None => Ok(strip.insert(make().map(Arc::new)?).clone()),
        }
    }

    fn packs(&self) -> bool {
        true
    }

    fn pack(&self, part: Part, make: &mut Packer) -> Result<()> {
        self.packed.update(&part, make)
    }
}

/// The samples of a window.
pub fn raster<S: Source + ?Sized>(source: &S, window: Window, keep: &dyn TileCache) -> Result<Raster> {
    piece(source, window, keep).map(|piece| piece.raster(window.rect.size()))
}

/// The samples of a tile of the header's grid. `Error::Outside` when there is no such tile.
pub fn tile<S: Source + ?Sized>(source: &S, tile: Tile, keep: &dyn TileCache) -> Result<Raster> {
    let rect = tile.rect(&source.header().levels).ok_or_else(|| outside(tile))?;
    // what one tile leaves behind is of use to others only
    let below = Renamed {
        keep,
        name: &not_tiles,
    };
    raster(source, Window::new(tile.level, rect), &below)
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
            let raster = keep.keep(Part::Tile(tile), &mut || decode(tile))?;
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
    let samples = match &pixel.samples {
        Samples::U8(of) => Samples::U8(of.repeat(count)),
        Samples::U16(of) => Samples::U16(of.repeat(count)),
        Samples::U32(of) => Samples::U32(of.repeat(count)),
        Samples::F32(of) => Samples::F32(of.repeat(count)),
    };
    Raster {
        size,
        channels: pixel.channels,
        samples,
    }
}

/// A raster of zeros like `model`.
pub fn blank(size: Size, model: &Raster) -> Result<Raster> {
    let count = usize::try_from(size.area()).unwrap_or(0) * usize::from(model.channels);
    let samples = match &model.samples {
        Samples::U8(_) => Samples::U8(room::zeros(count)?),
        Samples::U16(_) => Samples::U16(room::zeros(count)?),
        Samples::U32(_) => Samples::U32(room::zeros(count)?),
        Samples::F32(_) => Samples::F32(room::zeros(count)?),
    };
    Ok(Raster {
        size,
        channels: model.channels,
        samples,
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

/// Bands one below the other, `size` together.
pub fn stack(bands: impl IntoIterator<Item = Raster>, size: Size) -> Result<Raster> {
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
