//! Samples of a transform in an area of a band or a resolution, and the trait of both transforms.

use crate::codec::jp2::grid::Area;

/// A sample type of one of the transforms.
pub trait Number: Copy + Default + Send {
    /// The radius of the filter: samples on either side that a sample depends on.
    const REACH: u32;

    /// Transforms one line in place: samples at even positions are in `low`, the others in `high`; `odd`: the first
    /// position is odd (F.3.6, F.3.8).
    fn line(low: &mut [Self], high: &mut [Self], odd: bool);

    /// Number of lifting steps over columns, which alternately change the low and the high rows by their neighbours.
    const STEPS: usize;

    /// Scales a row before the first step.
    fn scale(row: &mut [Self], low: bool);

    /// One lifting step of a row between two others.
    fn lift(step: usize, own: &mut [Self], before: &[Self], after: &[Self]);

    /// Transforms a single row, which is a high one if `odd`.
    fn alone(row: &mut [Self], odd: bool);

    /// Converts a coefficient with one fractional bit, by the quantisation step.
    fn coefficient(value: i32, step: f32) -> Self;
}

/// Samples of an area, row by row.
#[derive(Debug, Default)]
pub struct Plane<T> {
    /// The area covered.
    pub area: Area,
    /// `area.len()` samples.
    pub data: Vec<T>,
}

impl<T: Copy + Default> Plane<T> {
    /// All zero.
    pub fn new(area: Area) -> Self {
        Plane {
            area,
            data: vec![T::default(); area.len()],
        }
    }

    /// The rows from `first` to `last`, inclusive, clamped to existing ones.
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

    /// A row, from a column on; both in absolute coordinates.
    pub fn row(&self, y: u32, x: u32) -> &[T] {
        let width = self.area.w() as usize;
        let start = y.saturating_sub(self.area.y0) as usize * width;
        let skip = x.saturating_sub(self.area.x0) as usize;
        self.data.get(start + skip..start + width).unwrap_or_default()
    }
}
