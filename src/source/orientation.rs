//! The Orientation tag (TIFF 6.0 p. 36) as a change of coordinates.

use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;

/// Maps upright coordinates to stored ones: x and y are swapped first, then each may be reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation {
    /// Whether x and y are swapped.
    pub swap: bool,
    back_x: bool,
    back_y: bool,
}

impl Orientation {
    /// From the tag's value; `None` for 1, which is upright, and for undefined values.
    pub fn of(orientation: u64) -> Option<Orientation> {
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
        Some(Orientation { swap, back_x, back_y })
    }

    /// The upright size of a level that is stored with this size.
    pub fn size(self, size: Size) -> Size {
        if self.swap { size.turned() } else { size }
    }

    /// Maps an upright rectangle to a stored level of this size.
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

    /// Turns a stored raster upright.
    pub fn raster(self, raster: &Raster) -> Raster {
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
