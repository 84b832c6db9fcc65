//! Sizes, rectangles, and [`Num`], the one kind of number that may come from a request: it is never NaN or
//! infinite.

use std::hash::Hash;
use std::hash::Hasher;
use std::ops::Range;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Width in pixels.
    pub w: u32,
    /// Height in pixels.
    pub h: u32,
}

impl Size {
    /// A size.
    pub const fn new(w: u32, h: u32) -> Self {
        Size { w, h }
    }

    /// Pixels covered.
    pub fn area(self) -> u64 {
        u64::from(self.w) * u64::from(self.h)
    }

    /// Width and height exchanged.
    pub fn turned(self) -> Self {
        Size { w: self.h, h: self.w }
    }

    /// Columns and rows of the grid of `tile`-sized cells that covers this size. `tile` has no zero side.
    pub fn grid(self, tile: Size) -> Size {
        Size {
            w: self.w.div_ceil(tile.w.max(1)),
            h: self.h.div_ceil(tile.h.max(1)),
        }
    }

    /// Both sides divided by 2^`shift`, rounded up, at least 1: ceil(w / 2^shift).
    pub fn halved_up(self, shift: u32) -> Self {
        let half = |v: u32| {
            let up = (u64::from(v) + ((1u64 << shift.min(32)) - 1)) >> shift.min(32);
            u32::try_from(up).unwrap_or(u32::MAX).max(1)
        };
        Size {
            w: half(self.w),
            h: half(self.h),
        }
    }
}

/// A rectangle of pixels: left, top, width, height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width.
    pub w: u32,
    /// Height.
    pub h: u32,
}

impl Rect {
    /// A rectangle.
    pub const fn new(x: u32, y: u32, w: u32, h: u32) -> Self {
        Rect { x, y, w, h }
    }

    /// The rectangle that covers a size.
    pub const fn of(size: Size) -> Self {
        Rect {
            x: 0,
            y: 0,
            w: size.w,
            h: size.h,
        }
    }

    /// Width and height.
    pub const fn size(self) -> Size {
        Size { w: self.w, h: self.h }
    }

    /// One past the right edge.
    pub fn right(self) -> u64 {
        u64::from(self.x) + u64::from(self.w)
    }

    /// One past the bottom edge.
    pub fn bottom(self) -> u64 {
        u64::from(self.y) + u64::from(self.h)
    }

    /// The cell (`col`, `row`) of the grid of `tile`-sized cells over `size`, cut at its edges; `None` outside.
    pub fn cell(size: Size, tile: Size, col: u32, row: u32) -> Option<Rect> {
        let x = col.checked_mul(tile.w)?;
        let y = row.checked_mul(tile.h)?;
        if x >= size.w || y >= size.h {
            return None;
        }
        Some(Rect {
            x,
            y,
            w: tile.w.min(size.w - x),
            h: tile.h.min(size.h - y),
        })
    }

    /// The columns and rows of the cells that the rectangle touches in a grid of `tile`-sized cells from the origin.
    pub fn cells(self, tile: Size) -> (Range<u32>, Range<u32>) {
        let range = |start: u32, end: u64, side: u32| {
            let end = end.div_ceil(u64::from(side.max(1)));
            start / side.max(1)..u32::try_from(end).unwrap_or(u32::MAX)
        };
        (
            range(self.x, self.right(), tile.w),
            range(self.y, self.bottom(), tile.h),
        )
    }

    /// The intersection with `other`; `None` when it is empty.
    pub fn meet(self, other: Rect) -> Option<Rect> {
        let x = self.x.max(other.x);
        let y = self.y.max(other.y);
        let right = self.right().min(other.right());
        let bottom = self.bottom().min(other.bottom());
        let w = u32::try_from(right.checked_sub(u64::from(x))?).ok()?;
        let h = u32::try_from(bottom.checked_sub(u64::from(y))?).ok()?;
        (w > 0 && h > 0).then_some(Rect { x, y, w, h })
    }
}

/// A finite number from a request. Equal numbers are equal keys (-0 is 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Num(f64);

impl Num {
    /// `None` for NaN and infinity.
    pub fn new(value: f64) -> Option<Num> {
        value.is_finite().then_some(Num(value + 0.0))
    }

    /// Reads a decimal number such as `-1.5` or `2e3`; `None` for anything else, `nan`, `inf` and blanks included.
    pub fn parse(text: &str) -> Option<Num> {
        Num::new(text.parse().ok()?)
    }

    /// The value.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl Eq for Num {}

impl Hash for Num {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_cut_at_the_edges_and_missing_beyond_them() {
        let size = Size::new(1000, 701);
        let tile = Size::new(256, 256);
        assert_eq!(Rect::cell(size, tile, 3, 2), Some(Rect::new(768, 512, 232, 189)));
        assert_eq!(Rect::cell(size, tile, 4, 0), None);
        assert_eq!(Rect::cell(size, tile, u32::MAX, 0), None);
        assert_eq!(size.grid(tile), Size::new(4, 3));
    }

    #[test]
    fn a_rectangle_touches_the_cells_between_its_edges() {
        let tile = Size::new(256, 100);
        assert_eq!(Rect::new(0, 0, 256, 100).cells(tile), (0..1, 0..1));
        assert_eq!(Rect::new(255, 99, 2, 2).cells(tile), (0..2, 0..2));
        assert_eq!(Rect::new(512, 300, 256, 1).cells(tile), (2..3, 3..4));
    }

    #[test]
    fn halving_rounds_up_and_never_reaches_zero() {
        assert_eq!(Size::new(1001, 701).halved_up(1), Size::new(501, 351));
        assert_eq!(Size::new(5, 1).halved_up(40), Size::new(1, 1));
    }

    #[test]
    fn numbers_are_finite_or_nothing() {
        assert!(Num::parse("nan").is_none());
        assert!(Num::parse("1e999").is_none());
        assert_eq!(Num::parse("-0"), Num::parse("0"));
        assert_eq!(Num::parse("2e1").map(Num::value), Some(20.0));
    }
}
