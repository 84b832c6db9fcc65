//! Holds the coefficients of a sub-band that a window needs, assembled from its code-blocks.
//!
//! Threads insert whole blocks; rows are read from them without an intermediate plane.

use crate::codec::jp2::grid::Area;
use crate::codec::jp2::plane::Number;
use crate::codec::jp2::plane::Plane;
use std::sync::OnceLock;

/// The blocks that touch an area of a sub-band; missing ones count as 0.
pub(super) struct Coefficients {
    pub(super) area: Area,
    /// The quantisation step.
    step: f32,
    /// log2 of the sides of a block.
    log2_sides: (u8, u8),
    /// Column and row of the first block.
    first: (u32, u32),
    /// Blocks per row.
    across: u32,
    blocks: Vec<OnceLock<Plane<i32>>>,
}

impl Coefficients {
    /// Covers `area`, without blocks yet.
    pub fn new(area: Area, log2_sides: (u8, u8), step: f32) -> Coefficients {
        let (first, mut across, mut down) = ((area.x0 >> log2_sides.0, area.y0 >> log2_sides.1), 0, 0);
        if !area.is_empty() {
            across = ((area.x1 - 1) >> log2_sides.0) + 1 - first.0;
            down = ((area.y1 - 1) >> log2_sides.1) + 1 - first.1;
        }
        Coefficients {
            area,
            step,
            log2_sides,
            first,
            across,
            blocks: (0..across as usize * down as usize)
                .map(|_| OnceLock::new())
                .collect(),
        }
    }

    /// Inserts a block: values with one fractional bit.
    pub fn put(&self, block: Plane<i32>) {
        if let Some(place) = self.block(block.area.x0, block.area.y0) {
            let _ = place.set(block);
        }
    }

    /// The slot of the block that contains a coefficient.
    fn block(&self, x: u32, y: u32) -> Option<&OnceLock<Plane<i32>>> {
        let column = (x >> self.log2_sides.0).checked_sub(self.first.0)?;
        let row = (y >> self.log2_sides.1).checked_sub(self.first.1)?;
        let place = (column < self.across).then(|| row as usize * self.across as usize + column as usize)?;
        self.blocks.get(place)
    }

    /// Converts the coefficients of row `y` from column `x` on to the transform's numbers, as many as `to` holds.
    #[inline(always)]
    pub fn row<T: Number>(&self, y: u32, x: u32, to: &mut [T]) {
        let (mut x, mut to) = (x, to);
        while !to.is_empty() {
            let left = (1 << self.log2_sides.0) - (x & ((1 << self.log2_sides.0) - 1));
            let (now, later) = to.split_at_mut(to.len().min(left as usize));
            let block = self.block(x, y).and_then(OnceLock::get);
            let from = block.map(|block| block.row(y, x)).unwrap_or_default();
            let (known, rest) = now.split_at_mut(now.len().min(from.len()));
            for (to, from) in known.iter_mut().zip(from) {
                *to = T::coefficient(*from, self.step);
            }
            rest.fill(T::default());
            (x, to) = (x.saturating_add(left), later);
        }
    }

    /// The coefficients of an area inside `self.area` as numbers of the transform.
    pub fn plane<T: Number>(&self, area: Area) -> Plane<T> {
        let mut plane = Plane::new(area);
        let rows = plane.data.chunks_exact_mut((area.w() as usize).max(1));
        for (y, row) in (area.y0..).zip(rows) {
            self.row(y, area.x0, row);
        }
        plane
    }
}
