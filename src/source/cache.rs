//! Caches of decoded parts: the [`TileCache`] trait, and the caches that a source uses by itself.

use crate::error::Error;
use crate::error::Result;
use crate::raster::Raster;
use crate::recent::Recent;
use crate::recent::Weigh;
use crate::source::Tile;
use bytes::Bytes;
use std::sync::Arc;

/// A decoded part of an image that another request may need again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A tile of the header's grid.
    Tile(Tile),
    /// A tile of the stored picture, before its orientation is applied.
    Unturned(Tile),
    /// A strip, or a tile too large for clients: a cell of the file's own grid.
    Stored(Tile),
    /// A whole level that is missing in the file.
    Level(usize),
    /// An intermediate result of a codec, under its own key.
    Coded([u32; 3]),
}

/// A cache of parts. Requests for a part that is being made wait for it.
pub trait TileCache: Sync {
    /// The part; `make` creates it if it is not cached.
    fn keep(&self, part: Part, make: &mut dyn FnMut() -> Result<Raster>) -> Result<Arc<Raster>>;

    /// Whether packed parts are cached.
    fn packs(&self) -> bool;

    /// Caches packed bytes that only the next window needs; `make` gets the cached bytes, if any, and returns their
    /// replacement, or `None` to leave them.
    fn pack(&self, part: Part, make: &mut Packer) -> Result<()>;

    /// Whether the part is cached.
    fn holds(&self, part: Part) -> bool {
        let _ = part;
        false
    }
}

/// Creates packed bytes from those that are cached.
pub type Packer<'a> = dyn FnMut(Option<Bytes>) -> Result<Option<Bytes>> + 'a;

/// Caches nothing.
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

/// A [`TileCache`] for an inner source, in which parts have other keys.
pub struct Renamed<'a> {
    /// The underlying cache.
    pub keep: &'a dyn TileCache,
    /// Maps a part to its key in the underlying cache; `None` if it must not be cached.
    pub name: &'a (dyn Fn(Part) -> Option<Part> + Sync),
}

/// Keys of a level in strips below one in tiles.
pub fn as_stored(part: Part) -> Option<Part> {
    Some(match part {
        Part::Tile(tile) => Part::Stored(tile),
        other => other,
    })
}

/// Excludes tiles.
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

/// Caches what the bands of one large window share: strips and packed parts for the duration of the window, and
/// derived levels.
pub struct BandCache<'a> {
    levels: &'a dyn TileCache,
    strips: Recent<Part, Arc<Raster>>,
    packed: Recent<Part>,
}

/// Bytes of cached strips: about one for each of two neighbouring bands of 30 000 pixels on each of eight threads.
const STRIPS: u64 = 128 << 20;

/// Strips that are cached whatever their size: those that the last two bands shared with the next.
const LAST: usize = 2;

/// Bytes of cached packed parts: about those that a band of 30 000 pixels shares with the next.
const PACKED: u64 = 48 << 20;

impl Weigh for Arc<Raster> {
    fn weight(&self) -> u64 {
        self.samples.bytes() as u64
    }
}

impl<'a> BandCache<'a> {
    /// Caches strips and packed parts itself, and derived levels in `levels`. The effort of a window covers them.
    pub fn over(levels: &'a dyn TileCache) -> BandCache<'a> {
        BandCache::with(levels, STRIPS)
    }

    /// The same with at most `strips` bytes of strips, but always the last two.
    pub fn with(levels: &'a dyn TileCache, strips: u64) -> BandCache<'a> {
        BandCache {
            levels,
            strips: Recent::of_some(strips, LAST),
            packed: Recent::new(PACKED),
        }
    }
}

impl TileCache for BandCache<'_> {
    fn keep(&self, part: Part, make: &mut dyn FnMut() -> Result<Raster>) -> Result<Arc<Raster>> {
        match part {
            Part::Stored(_) => {}
            Part::Level(_) => return self.levels.keep(part, make),
            Part::Tile(_) | Part::Unturned(_) | Part::Coded(_) => return make().map(Arc::new),
        }
        let mut strip = None;
        self.strips.update(&part, |held| {
            let made = held.is_none();
            let raster = held.map_or_else(|| make().map(Arc::new), Ok)?;
            strip = Some(raster.clone());
            Ok(made.then_some(raster))
        })?;
        strip.ok_or_else(|| Error::Internal("a strip was not made".into()))
    }

    fn packs(&self) -> bool {
        true
    }

    fn pack(&self, part: Part, make: &mut Packer) -> Result<()> {
        self.packed.update(&part, make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::raster::Samples;
    use crate::source::Tile;

    #[test]
    fn strips_are_cached_up_to_a_size_and_the_last_two_always() {
        let strip = |row| {
            Part::Stored(Tile {
                level: 0,
                col: 0,
                row,
            })
        };
        // number of ten strips of this size that stay cached
        let held = |bytes: u64| {
            let bands = BandCache::with(&NoCache, STRIPS);
            let make = || {
                Ok(Raster {
                    size: Size::new(1, 1),
                    channels: 1,
                    samples: Samples::U8(vec![0; usize::try_from(bytes).unwrap()]),
                })
            };
            for row in 0..10 {
                bands.keep(strip(row), &mut { make }).unwrap();
            }
            let is_held = |row: &u32| bands.keep(strip(*row), &mut || Err(Error::Busy)).is_ok();
            (0..10).rev().take_while(is_held).count()
        };
        assert_eq!(held(1 << 10), 10);
        assert_eq!(held(STRIPS / 4), 3);
        assert_eq!(held(STRIPS + 1), 2);
    }
}
