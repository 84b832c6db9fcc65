//! Caches of decoded parts: the [`TileCache`] trait, and the caches that a source uses by itself.

use crate::error::Result;
use crate::raster::Raster;
use crate::recent::Recent;
use crate::source::Tile;
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

/// What the bands of one large window share: strips and packed parts for as long as it takes, and derived levels.
pub struct BandCache<'a> {
    levels: &'a dyn TileCache,
    strips: Mutex<VecDeque<(Part, Strip)>>,
    packed: Recent<Part>,
}

/// Whoever comes first decodes it under this lock.
type Strip = Arc<Mutex<Option<Arc<Raster>>>>;

/// Strips that are held: one for each of two neighbouring bands on each thread, about.
const STRIPS: usize = 16;

/// Bytes of packed parts: about those that a band of 30 000 pixels shares with the next.
const PACKED: u64 = 48 << 20;

impl<'a> BandCache<'a> {
    /// Holds strips and packed parts; derived levels are left to `levels`.
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
        if strips.len() == STRIPS {
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
