//! A picture that is stored turned or mirrored, as its Orientation tag says, shown upright (TIFF 6.0 p. 36).
//!
//! A change of coordinates: tiles are read where they lie and turned.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Density;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::source::Decoding;
use crate::source::Header;
use crate::source::Level;
use crate::source::Piece;
use crate::source::Source;
use crate::source::Take;
use crate::source::Window;
use crate::source::level::Derived;
use crate::source::level::Map;
use crate::source::level::Parts;
use crate::source::window;
use crate::source::window::Part;
use crate::source::window::Renamed;
use crate::source::window::TileCache;
use std::sync::Arc;

/// From upright coordinates to stored ones: x and y change places first, then each may run backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    swap: bool,
    back_x: bool,
    back_y: bool,
}

impl Turn {
    /// For a value of the tag; `None` for 1, which is upright, and for what has no meaning.
    fn of(orientation: u64) -> Option<Turn> {
        let (swap, back_x, back_y) = match orientation {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, false, true),
            7 => (true, true, true),
            8 => (true, true, false),
            _ => return None,
        };
        Some(Turn { swap, back_x, back_y })
    }

    fn size(self, size: Size) -> Size {
        if self.swap { size.turned() } else { size }
    }

    /// Where an upright rectangle lies in a stored level of this size.
    pub fn stored(self, rect: Rect, size: Size) -> Rect {
        let Rect { x, y, w, h } = rect;
        let (x, y, w, h) = if self.swap { (y, x, h, w) } else { (x, y, w, h) };
        let from = |back: bool, at: u32, length: u32, side: u32| {
            if back {
                side.saturating_sub(at).saturating_sub(length)
            } else {
                at
            }
        };
        Rect::new(
            from(self.back_x, x, w, size.w),
            from(self.back_y, y, h, size.h),
            w,
            h,
        )
    }

    /// A stored raster, upright.
    fn raster(self, raster: &Raster) -> Raster {
        let size = raster.size;
        let channels = usize::from(raster.channels);
        let samples = match &raster.samples {
            Samples::U8(from) => Samples::U8(self.samples(from, size, channels)),
            Samples::U16(from) => Samples::U16(self.samples(from, size, channels)),
            Samples::U32(from) => Samples::U32(self.samples(from, size, channels)),
            Samples::F32(from) => Samples::F32(self.samples(from, size, channels)),
        };
        Raster {
            size: self.size(size),
            channels: raster.channels,
            samples,
        }
    }

    fn samples<T: Copy>(self, from: &[T], stored: Size, channels: usize) -> Vec<T> {
        let upright = self.size(stored);
        let mut out = Vec::with_capacity(from.len());
        for y in 0..upright.h {
            for x in 0..upright.w {
                let at = self.stored(Rect::new(x, y, 1, 1), stored);
                let start = (at.y as usize * stored.w as usize + at.x as usize) * channels;
                out.extend_from_slice(from.get(start..start + channels).unwrap_or_default());
            }
        }
        out
    }
}

/// A source, upright.
pub struct Oriented {
    inner: Box<dyn Source>,
    header: Header,
    turn: Turn,
}

impl Oriented {
    /// The source itself when its orientation asks for nothing.
    pub fn over(inner: Box<dyn Source>) -> Box<dyn Source> {
        let Some(turn) = Turn::of(inner.header().orientation) else {
            return inner;
        };
        let mut header = inner.header().clone();
        header.orientation = 1;
        let levels = header.levels.into_iter().enumerate();
        header.levels = levels
            .map(|(index, from)| Level {
                size: turn.size(from.size),
                tile: turn.size(from.tile),
                decoding: match from.decoding {
                    Decoding::Quick => Decoding::Usual,
                    other => other,
                },
                parts: Parts::Derived(Arc::new(Derived {
                    index,
                    map: Map::Turned(turn),
                    name: unturned,
                    from: from.clone(),
                })),
                ..from
            })
            .collect();
        if let (Some(density), true) = (&mut header.metadata.density, turn.swap) {
            let Density { x, y } = *density;
            *density = Density { x: y, y: x };
        }
        // stored tiles lie on their sides
        header.stored = None;
        Box::new(Oriented { inner, header, turn })
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
        let rect = self.turn.stored(window.rect, size);
        let piece = match window::piece(&*self.inner, Window { rect, ..window }, &below)? {
            Piece::Pixels(raster) => Piece::Pixels(self.turn.raster(&raster)),
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
    use crate::source::Tile;
    use crate::source::synthetic::Synthetic;
    use crate::source::synthetic::sample;
    use crate::source::window::NoCache;

    /// Where the upright pixel (x, y) is stored, as the standard says: which side of the picture the first row is, and
    /// which the first column.
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
    fn all_eight_orientations_show_every_pixel_where_it_belongs() {
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
