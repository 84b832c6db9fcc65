//! Samples of a transform in an area of a band or a resolution.

use crate::codec::jp2::grid::Area;

/// A sample of one of the transforms.
pub trait Number: Copy + Default + Send {
    /// Samples on either side that a sample depends on.
    const REACH: u32;

    /// One line of samples in place, those at even places in `low`, the others in `high`; `odd`: its first place is odd
    /// (F.3.6, F.3.8).
    fn line(low: &mut [Self], high: &mut [Self], odd: bool);

    /// Steps over columns: by turns they change the low rows and the high ones by their neighbours.
    const STEPS: usize;

    /// What comes before the first step, for each row.
    fn scale(row: &mut [Self], low: bool);

    /// A step of the row between two others.
    fn lift(step: usize, own: &mut [Self], before: &[Self], after: &[Self]);

    /// All there is for a single row, a high one if `odd`.
    fn alone(row: &mut [Self], odd: bool);

    /// From a coefficient with one fractional bit, and the quantisation step.
    fn coefficient(value: i32, step: f32) -> Self;
}

/// Samples of an area, row by row.
#[derive(Debug, Default)]
pub struct Plane<T> {
    /// What they cover.
    pub area: Area,
    /// `area.len()` of them.
    pub data: Vec<T>,
}

impl<T: Copy + Default> Plane<T> {
    /// Zeros.
    pub fn new(area: Area) -> Self {
        Plane {
            area,
            data: vec![T::default(); area.len()],
        }
    }

    /// A part of it, from a row to another one and including it; where it has none of them, the row next to them.
    pub fn rows(&self, first: u32, last: u32) -> Self {
        let inside = |y: u32| y.min(self.area.y1.saturating_sub(1)).max(self.area.y0);
        let area = Area {
            y0: inside(first),
            y1: inside(last) + 1,
            ..self.area
        };
        let width = area.w() as usize;
        let start = (area.y0 - self.area.y0) as usize * width;
        Plane {
            area,
            data: self
                .data
                .get(start..start + area.len())
                .unwrap_or_default()
                .to_vec(),
        }
    }

    /// A row, from a column on; both by their absolute numbers.
    pub fn row(&self, y: u32, x: u32) -> &[T] {
        let width = self.area.w() as usize;
        let start = y.saturating_sub(self.area.y0) as usize * width;
        let skip = x.saturating_sub(self.area.x0) as usize;
        self.data.get(start + skip..start + width).unwrap_or_default()
    }
}
