//! Maps the tile names of all protocols to a stored tile or a region.
//!
//! The factor of a level is a power of two, but levels are rounded up or down, and clients round differently. A name
//! that exists in the stored grid gives that stored tile; one that exists only in the client's grid (a column one
//! pixel wide, a level smaller than the smallest stored) gives a region of the image at the size that the client
//! expects.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::source::Header;
use crate::source::Level;
use crate::source::Tile;
use crate::source::Window;

/// The name of a tile in a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileName {
    /// `level` 0 is the smallest counted ([`Header::counted`]); tiles are numbered in row-major order.
    Iip {
        /// Level, 0 is the smallest.
        level: u32,
        /// Number in row-major order.
        index: u32,
    },
    /// Level ceil(log2(max(W, H))) is full size.
    DeepZoom {
        /// Level, 0 is one pixel.
        level: u32,
        /// Column from the left.
        col: u32,
        /// Row from the top.
        row: u32,
    },
    /// Level 0 is the largest that fits in one tile.
    Zoomify {
        /// Level, 0 fits in one tile.
        level: u32,
        /// Column from the left.
        col: u32,
        /// Row from the top.
        row: u32,
    },
}

/// The pixels that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A stored tile.
    Stored(Tile),
    /// A region in pixels of level 0, and its size in the answer.
    Region(Rect, Size),
}

/// Number of halvings from level 0 to this level; `None` when it is not level 0 halved (±1 pixel).
pub fn shift(full: Size, level: Size) -> Option<u32> {
    let (long, short) = (full.w.max(full.h), level.w.max(level.h).max(1));
    let near = (f64::from(long) / f64::from(short)).log2().round();
    (0..=31).find(|s| f64::from(*s) == near).filter(|&s| {
        let half = |v: u32, l: u32| (v >> s).abs_diff(l) <= 1;
        half(full.w, level.w) && half(full.h, level.h)
    })
}

/// The DeepZoom level that is full size: ceil(log2(max(W, H))).
pub fn deepzoom_top(full: Size) -> u32 {
    full.w.max(full.h).max(1).next_power_of_two().trailing_zeros()
}

/// Level sizes as Zoomify clients count them, full size first: halved and rounded down, regardless of the stored
/// levels, until one tile holds the last. (OpenLayers rounds up by default: one level more for one size in 256.)
pub fn zoomify_sizes(header: &Header) -> Vec<Size> {
    let full = header.size();
    let tile = base_tile(header);
    let mut sizes = Vec::new();
    for s in 0..=31 {
        let size = Size::new((full.w >> s).max(1), (full.h >> s).max(1));
        sizes.push(size);
        if size.w <= tile.w && size.h <= tile.h {
            break;
        }
    }
    sizes
}

/// The tile size announced to clients: that of level 0.
pub fn base_tile(header: &Header) -> Size {
    header
        .levels
        .first()
        .map_or(Size::new(256, 256), |level| level.tile)
}

/// The stored level that is level 0 halved `wanted` times.
fn stored_level(header: &Header, wanted: u32) -> Option<usize> {
    header
        .levels
        .iter()
        .position(|level| shift(header.size(), level.size) == Some(wanted))
}

impl TileName {
    /// Finds the tile in this image; `Error::Outside` when it has no such tile.
    pub fn place(self, header: &Header) -> Result<Place> {
        let outside = || Error::Outside(format!("the image has no {self}"));
        match self {
            TileName::Iip { level, index } => {
                let level = header.from_smallest(level).ok_or_else(outside)?;
                let Level { size, tile, .. } = *header.levels.get(level).ok_or_else(outside)?;
                let columns = size.grid(tile).w.max(1);
                let tile = Tile {
                    level,
                    col: index % columns,
                    row: index / columns,
                };
                tile.rect(&header.levels)
                    .map(|_| Place::Stored(tile))
                    .ok_or_else(outside)
            }
            TileName::DeepZoom { level, col, row } => {
                // levels beyond full size are full size, as in iipsrv
                let halvings = deepzoom_top(header.size()).saturating_sub(level);
                let size = header.size().halved_up(halvings);
                halved(header, halvings, size, col, row).ok_or_else(outside)
            }
            TileName::Zoomify { level, col, row } => {
                let sizes = zoomify_sizes(header);
                let halvings = usize::try_from(level)
                    .ok()
                    .and_then(|level| sizes.len().checked_sub(level.checked_add(1)?))
                    .ok_or_else(outside)?;
                let size = *sizes.get(halvings).ok_or_else(outside)?;
                let halvings = u32::try_from(halvings).map_err(|_| outside())?;
                halved(header, halvings, size, col, row).ok_or_else(outside)
            }
        }
    }
}

/// The tile of level 0 halved `halvings` times: the stored tile if there is one, otherwise a cell of a level of
/// `size`, or of the stored level's size, which has one more column or row if the size rounded up has it.
fn halved(header: &Header, halvings: u32, mut size: Size, col: u32, row: u32) -> Option<Place> {
    let grid = base_tile(header);
    let full = header.size();
    if let Some(index) = stored_level(header, halvings) {
        let level = header.levels.get(index)?;
        size = level.size;
        let tile = Tile {
            level: index,
            col,
            row,
        };
        if level.tile == grid && tile.rect(&header.levels).is_some() {
            return Some(Place::Stored(tile));
        }
    }
    let up = full.halved_up(halvings);
    let reached = |at: u32, tile: u32, side: u32| u64::from(at) * u64::from(tile) < u64::from(side);
    let level = Size {
        w: if reached(col, grid.w, size.w) {
            size.w
        } else {
            up.w
        },
        h: if reached(row, grid.h, size.h) {
            size.h
        } else {
            up.h
        },
    };
    let cell = Rect::cell(level, grid, col, row)?;
    // the last tile extends to the edge, whatever the rounding
    let span = |start: u32, length: u32, side: u32, end: u32| {
        let first = u32::try_from(u64::from(start) << halvings).ok()?;
        let left = end.checked_sub(first)?;
        let wide = u32::try_from(u64::from(length) << halvings).unwrap_or(u32::MAX);
        let last = start + length == side;
        Some((first, if last { left } else { wide.min(left) }))
    };
    let (x, w) = span(cell.x, cell.w, level.w, full.w)?;
    let (y, h) = span(cell.y, cell.h, level.h, full.h)?;
    (w > 0 && h > 0).then_some(Place::Region(Rect::new(x, y, w, h), cell.size()))
}

/// The window of a stored level that shows `region` of level 0 at `size`, if that is the region halved and rounded up
/// or down. At the right and bottom edges the level may differ by one pixel because of its own rounding.
pub fn showing(header: &Header, region: Rect, size: Size) -> Option<Window> {
    let full = header.size();
    header.levels.iter().enumerate().find_map(|(index, level)| {
        let s = shift(full, level.size)?;
        let (x, w) = halved_span(s, (region.x, region.w), full.w, level.size.w, size.w)?;
        let (y, h) = halved_span(s, (region.y, region.h), full.h, level.size.h, size.h)?;
        Some(Window::new(index, Rect::new(x, y, w, h)))
    })
}

/// One axis of [`showing`]: start and length in a level of length `side`, for a start and a length in `full`.
fn halved_span(s: u32, (start, length): (u32, u32), full: u32, side: u32, wanted: u32) -> Option<(u32, u32)> {
    let step = 1u64 << s;
    let (start, length) = (u64::from(start), u64::from(length));
    let halved = [length >> s, length.div_ceil(step)].contains(&u64::from(wanted));
    if !halved || start % step != 0 {
        return None;
    }
    let first = u32::try_from(start >> s).ok()?;
    let left = side.checked_sub(first)?;
    if start + length == u64::from(full) {
        return (left > 0 && left.abs_diff(wanted) <= 1).then_some((first, left));
    }
    (length % step == 0 && wanted <= left).then_some((first, wanted))
}

/// The size, rounded up, at which a client expects a stored tile of this region of level 0, if it `fits`: for
/// requests that give only one side.
pub fn expected(header: &Header, region: Rect, fits: impl Fn(Size) -> bool) -> Option<Size> {
    cells(header, region)
        .map(|(_, halvings)| region.size().halved_up(halvings))
        .find(|size| fits(*size))
}

/// The stored tiles that show exactly this region of level 0, each with the number of halvings of its level.
fn cells(header: &Header, region: Rect) -> impl Iterator<Item = (Tile, u32)> {
    let full = header.size();
    let tile = move |(index, level): (usize, &Level)| {
        let s = shift(full, level.size)?;
        let wide = u64::from(level.tile.w) << s;
        let high = u64::from(level.tile.h) << s;
        let (x, y) = (u64::from(region.x), u64::from(region.y));
        let whole = x % wide == 0
            && y % high == 0
            && u64::from(region.w) == wide.min(u64::from(full.w) - x)
            && u64::from(region.h) == high.min(u64::from(full.h) - y);
        let tile = Tile {
            level: index,
            col: u32::try_from(x / wide).ok()?,
            row: u32::try_from(y / high).ok()?,
        };
        whole.then_some((tile, s))
    };
    header.levels.iter().enumerate().filter_map(tile)
}

impl std::fmt::Display for TileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TileName::Iip { level, index } => write!(f, "tile {index} at resolution {level}"),
            TileName::DeepZoom { level, col, row } | TileName::Zoomify { level, col, row } => {
                write!(f, "tile {col},{row} at level {level}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::source::synthetic::Synthetic;

    #[test]
    fn levels_rounded_up_or_down_are_halvings() {
        let full = Size::new(1001, 701);
        assert_eq!(shift(full, Size::new(500, 350)), Some(1));
        assert_eq!(shift(full, Size::new(501, 351)), Some(1));
        assert_eq!(shift(full, Size::new(63, 44)), Some(4));
        assert_eq!(shift(full, Size::new(400, 280)), None);
        assert_eq!(shift(full, full), Some(0));
    }

    #[test]
    fn names_of_all_protocols_find_the_same_tile() {
        let image = Synthetic::halving(Size::new(1000, 701), Size::new(256, 256), 3);
        let header = image.header();
        let tile = Place::Stored(Tile {
            level: 1,
            col: 1,
            row: 0,
        });
        assert_eq!(TileName::Iip { level: 1, index: 1 }.place(header).unwrap(), tile);
        assert_eq!(
            TileName::DeepZoom {
                level: 9,
                col: 1,
                row: 0
            }
            .place(header)
            .unwrap(),
            tile
        );
        assert_eq!(
            TileName::Zoomify {
                level: 1,
                col: 1,
                row: 0
            }
            .place(header)
            .unwrap(),
            tile
        );
        let found = showing(header, Rect::new(512, 0, 488, 512), Size::new(244, 256));
        assert_eq!(found, Some(Window::new(1, Rect::new(256, 0, 244, 256))));
    }

    #[test]
    fn tiles_beyond_stored_levels_are_derived_and_beyond_the_image_refused() {
        let image = Synthetic::halving(Size::new(1000, 701), Size::new(256, 256), 3);
        let header = image.header();
        let made = TileName::DeepZoom {
            level: 3,
            col: 0,
            row: 0,
        }
        .place(header)
        .unwrap();
        assert_eq!(made, Place::Region(Rect::new(0, 0, 1000, 701), Size::new(8, 6)));
        let full = |level| {
            TileName::DeepZoom {
                level,
                col: 0,
                row: 0,
            }
            .place(header)
            .unwrap()
        };
        assert_eq!(full(11), full(10));
        assert!(
            TileName::DeepZoom {
                level: 10,
                col: 4,
                row: 0
            }
            .place(header)
            .is_err()
        );
        assert!(TileName::Iip { level: 3, index: 0 }.place(header).is_err());
        assert!(TileName::Iip { level: 2, index: 12 }.place(header).is_err());
        assert!(
            TileName::Zoomify {
                level: 3,
                col: 0,
                row: 0
            }
            .place(header)
            .is_err()
        );
    }
}
