//! Shows a turned or mirrored picture upright: reads stored tiles and turns them.

use crate::error::Error;
use crate::error::Result;
use crate::raster::Density;
use crate::source::Decoding;
use crate::source::Header;
use crate::source::Level;
use crate::source::Piece;
use crate::source::Source;
use crate::source::Take;
use crate::source::Window;
use crate::source::cache::Part;
use crate::source::cache::Renamed;
use crate::source::cache::TileCache;
use crate::source::level::Derived;
use crate::source::level::Map;
use crate::source::level::Parts;
use crate::source::orientation::Orientation;
use crate::source::window;
use std::sync::Arc;

/// An upright view of a source.
pub struct Oriented {
    inner: Box<dyn Source>,
    header: Header,
    orientation: Orientation,
}

impl Oriented {
    /// Wraps a source, unless it is upright already.
    pub fn over(inner: Box<dyn Source>) -> Box<dyn Source> {
        let Some(orientation) = Orientation::of(inner.header().orientation) else {
            return inner;
        };
        let mut header = inner.header().clone();
        header.orientation = 1;
        let levels = header.levels.into_iter().enumerate();
        header.levels = levels
            .map(|(index, from)| Level {
                size: orientation.size(from.size),
                tile: orientation.size(from.tile),
                decoding: match from.decoding {
                    Decoding::Quick => Decoding::Usual,
                    other => other,
                },
                parts: Parts::Derived(Arc::new(Derived {
                    index,
                    map: Map::Turned(orientation),
                    name: unturned,
                    from: from.clone(),
                })),
                ..from
            })
            .collect();
        if let (Some(density), true) = (&mut header.metadata.density, orientation.swap) {
            let Density { x, y } = *density;
            *density = Density { x: y, y: x };
        }
        // stored tiles are not upright
        header.stored = None;
        Box::new(Oriented {
            inner,
            header,
            orientation,
        })
    }
}

impl Source for Oriented {
    fn header(&self) -> &Header {
        &self.header
    }

    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        let level = self.inner.header().levels.get(window.level);
        let size = level.ok_or_else(|| Error::Outside("no such level".into()))?.size;
        let below = Renamed {
            keep,
            name: &unturned,
        };
        let rect = self.orientation.stored(window.rect, size);
        let piece = match window::piece(&*self.inner, Window { rect, ..window }, &below)? {
            Piece::Pixels(raster) => Piece::Pixels(self.orientation.raster(&raster)),
            vacant @ Piece::Vacant(_) => vacant,
        };
        take(piece, window.rect)
    }
}

fn unturned(part: Part) -> Option<Part> {
    Some(match part {
        Part::Tile(tile) => Part::Unturned(tile),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::raster::Samples;
    use crate::source::Tile;
    use crate::source::cache::NoCache;
    use crate::source::synthetic::Synthetic;
    use crate::source::synthetic::sample;

    /// Where the upright pixel (x, y) is stored, by the standard's definition: the side of the picture that is row 0,
    /// and the side that is column 0.
    fn stored(orientation: u64, x: u32, y: u32, w: u32, h: u32) -> (u32, u32) {
        match orientation {
            2 => (w - 1 - x, y),
            3 => (w - 1 - x, h - 1 - y),
            4 => (x, h - 1 - y),
            5 => (y, x),
            6 => (y, h - 1 - x),
            7 => (w - 1 - y, h - 1 - x),
            8 => (w - 1 - y, x),
            _ => (x, y),
        }
    }

    #[test]
    fn all_eight_orientations_map_every_pixel_to_its_upright_place() {
        let (w, h) = (150, 110);
        for orientation in 0..=9 {
            let mut inner = Synthetic::halving(Size::new(w, h), Size::new(64, 32), 3);
            inner.header_mut().orientation = orientation;
            let upright = Oriented::over(Box::new(inner));
            let level = &upright.header().levels[0];
            let side = |a, b| {
                if (5..=8).contains(&orientation) {
                    (b, a)
                } else {
                    (a, b)
                }
            };
            assert_eq!((level.size.w, level.size.h), side(w, h));
            assert_eq!((level.tile.w, level.tile.h), side(64, 32));
            let grid = level.size.grid(level.tile);
            for (col, row) in (0..grid.h).flat_map(|row| (0..grid.w).map(move |col| (col, row))) {
                let tile = Tile { level: 0, col, row };
                let rect = tile.rect(&upright.header().levels).unwrap();
                let raster = window::tile(&*upright, tile, &NoCache).unwrap();
                assert_eq!(raster.size, rect.size());
                let pixel = |x, y| {
                    let (x, y) = stored(orientation, x, y, w, h);
                    (0..3).map(move |c| sample(x, y, 0, c))
                };
                let wanted = (rect.y..rect.y + rect.h)
                    .flat_map(|y| (rect.x..rect.x + rect.w).flat_map(move |x| pixel(x, y)))
                    .collect();
                assert_eq!(raster.samples, Samples::U8(wanted), "{orientation} {tile:?}");
            }
        }
    }
}
