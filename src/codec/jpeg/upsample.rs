//! Upsamples the planes of subsampled components as libjpeg does, rounding included.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;

/// The samples of a component.
#[derive(Clone, Debug)]
pub struct ComponentPlane {
    /// Size without MCU padding.
    pub size: Size,
    /// Distance between rows in samples.
    stride: usize,
    /// Row-major, including MCU padding.
    samples: Vec<u16>,
}

impl ComponentPlane {
    /// A plane of zeros, of which `size` is part of the picture.
    pub fn new(size: Size, padded: Size) -> ComponentPlane {
        ComponentPlane {
            size,
            stride: padded.w as usize,
            samples: vec![0; padded.w as usize * padded.h as usize],
        }
    }

    /// Stores the block at this column and row of blocks, if inside.
    pub fn put(&mut self, col: usize, row: usize, block: &[[u16; 8]; 8]) {
        let rows = self.samples.chunks_exact_mut(self.stride.max(1)).skip(row * 8);
        for (to, from) in rows.zip(block) {
            if let Some(to) = to.get_mut(col * 8..col * 8 + 8) {
                to.copy_from_slice(from);
            }
        }
    }

    /// The part of a row inside the picture. `row` is clamped: edge rows are replicated.
    fn row(&self, row: i64) -> &[u16] {
        let row = row.clamp(0, i64::from(self.size.h) - 1);
        let start = usize::try_from(row).unwrap_or(0) * self.stride;
        let row = self.samples.get(start..start + self.size.w as usize);
        row.unwrap_or_default()
    }
}

/// Upsamples a plane with sampling `factors` to `size` samples; `max_factors` are the largest of all components.
/// Factor 2 is interpolated with weights 3/4 and 1/4; planes at most two samples wide replicate horizontally and, for 2x2, vertically.
/// Other factors replicate. `Unsupported` if the ratios are fractions.
pub fn upsample(plane: &ComponentPlane, factors: Size, max_factors: Size, size: Size) -> Result<Vec<u16>> {
    if !max_factors.w.is_multiple_of(factors.w.max(1)) || !max_factors.h.is_multiple_of(factors.h.max(1)) {
        let what = "jpeg with fractional sampling ratios is not supported";
        return Err(Error::Unsupported(what.into()));
    }
    let (across, down) = (max_factors.w / factors.w.max(1), max_factors.h / factors.h.max(1));
    let smooth = plane.size.w > 2;
    let width = size.w as usize;
    let mut out = Vec::with_capacity(width * size.h as usize);
    for y in 0..i64::from(size.h) {
        let end = out.len() + width;
        let row = y / i64::from(down);
        let near = plane.row(row);
        let upper = y % 2 == 0;
        let far = plane.row(if upper { row - 1 } else { row + 1 });
        match (across, down) {
            (2, 1) if smooth => double_row(near.iter().map(|v| u32::from(*v)), [1, 2], 2, &mut out),
            (2, 2) if smooth => {
                let sums = near
                    .iter()
                    .zip(far)
                    .map(|(near, far)| 3 * u32::from(*near) + u32::from(*far));
                double_row(sums, [8, 7], 4, &mut out);
            }
            (1, 2) => out.extend(near.iter().zip(far).map(|(near, far)| {
                let sum = 3 * u32::from(*near) + u32::from(*far) + if upper { 1 } else { 2 };
                u16::try_from(sum >> 2).unwrap_or(0)
            })),
            _ => out.extend(near.iter().flat_map(|v| std::iter::repeat_n(*v, across as usize))),
        }
        out.resize(end, 0);
    }
    Ok(out)
}

/// Doubles a row: each output is three parts of a sample and one of its neighbour on that side, at the ends the
/// sample itself; `bias` is added to the left and the right output before the lowest `cut` bits are dropped.
fn double_row(row: impl Iterator<Item = u32> + Clone, bias: [u32; 2], cut: u32, out: &mut Vec<u16>) {
    let mut next = row.clone().skip(1);
    let mut before = None;
    for value in row {
        let after = next.next();
        for (neighbour, bias) in [before, after].into_iter().zip(bias) {
            let sum = 3 * value + neighbour.unwrap_or(value) + bias;
            out.push(u16::try_from(sum >> cut).unwrap_or(0));
        }
        before = Some(value);
    }
}
