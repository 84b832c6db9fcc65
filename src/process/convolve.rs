//! Convolution of one channel with kernels of 3×3 and 5×5.
//!
//! Edges are replicated. The plan decides whether an edge is that of the image or only that of a window.

use crate::geometry::Num;
use crate::geometry::Size;
use std::iter::repeat_n;

/// A function of a pixel's neighbourhood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// The weighted sum of the neighbours (9 or 25 weights, row by row from the top left), divided by the sum of the
    /// weights if that is positive. The weights are not mirrored.
    Weights(Vec<Num>),
    /// The gradient magnitude √(x² + y²) of the horizontal and vertical differences. Neighbouring differences are
    /// smoothed by these weights: that of the pixel's own row or column, and that of the adjacent ones.
    Slope(Num, Num),
    /// Unsharp mask: the pixel plus `amount` times its difference from a 5×5 binomial blur. Sharpens above 0, blurs
    /// from 0 to −1.
    Sharpen(Num),
}

/// One-dimensional binomial blur.
const BINOMIAL: [f32; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];

impl Kernel {
    /// The kernel with this name, case-insensitive. Sobel, Prewitt and Scharr are gradients, scaled alike.
    pub fn named(name: &str) -> Option<Kernel> {
        let slope = |own, beside| Some(Kernel::Slope(Num::new(own)?, Num::new(beside)?));
        let weights: [f64; 9] = match name.to_ascii_lowercase().as_str() {
            "sobel" => return slope(2.0, 1.0),
            "prewitt" => return slope(4.0 / 3.0, 4.0 / 3.0),
            "scharr" => return slope(2.5, 0.75),
            "laplace" => [0.0, -1.0, 0.0, -1.0, 4.0, -1.0, 0.0, -1.0, 0.0],
            "gaussian" => [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0],
            "sharpen" => [0.0, -1.0, 0.0, -1.0, 5.0, -1.0, 0.0, -1.0, 0.0],
            "emboss" => [-2.0, -1.0, 0.0, -1.0, 1.0, 1.0, 0.0, 1.0, 2.0],
            _ => return None,
        };
        weights
            .into_iter()
            .map(Num::new)
            .collect::<Option<_>>()
            .map(Kernel::Weights)
    }

    /// The radius of the neighbourhood, in pixels.
    pub fn radius(&self) -> u32 {
        match self {
            Kernel::Weights(weights) if weights.len() <= 9 => 1,
            Kernel::Slope(..) => 1,
            Kernel::Weights(_) | Kernel::Sharpen(_) => 2,
        }
    }

    /// The kernel's weights by row, one list for each direction.
    #[expect(clippy::cast_possible_truncation, reason = "pixels are of single precision")]
    fn weights(&self) -> Vec<Vec<f32>> {
        match self {
            Kernel::Weights(weights) => {
                let sum: f64 = weights.iter().map(|w| w.value()).sum();
                let by = if sum > 0.0 { 1.0 / sum } else { 1.0 };
                vec![weights.iter().map(|w| (w.value() * by) as f32).collect()]
            }
            Kernel::Slope(own, beside) => {
                let (a, b) = (own.value() as f32, beside.value() as f32);
                vec![
                    vec![-b, 0.0, b, -a, 0.0, a, -b, 0.0, b],
                    vec![-b, -a, -b, 0.0, 0.0, 0.0, b, a, b],
                ]
            }
            Kernel::Sharpen(amount) => {
                let amount = amount.value() as f32;
                let weighted = |(place, blur): (usize, f32)| {
                    let own = if place == 12 { 1.0 + amount } else { 0.0 };
                    own - amount * blur
                };
                let blur = BINOMIAL
                    .iter()
                    .flat_map(|down| BINOMIAL.map(|across| down * across));
                vec![blur.enumerate().map(weighted).collect()]
            }
        }
    }

    /// Applies the kernel to one channel of `size` pixels, in rows.
    pub fn apply(&self, plane: &[f32], size: Size) -> Vec<f32> {
        let (width, height) = (size.w as usize, size.h as usize);
        let radius = self.radius() as usize;
        let side = 2 * radius + 1;
        // each row is extended at both ends, so that neighbours are slices
        let wide = width + 2 * radius;
        let mut padded = Vec::with_capacity(wide * height);
        for row in plane.chunks_exact(width) {
            let (Some(first), Some(last)) = (row.first(), row.last()) else {
                continue;
            };
            padded.extend(repeat_n(*first, radius));
            padded.extend_from_slice(row);
            padded.extend(repeat_n(*last, radius));
        }
        // row offset, column offset and weight of the non-zero entries
        let nonzero = |weights: Vec<f32>| {
            let all = (0..)
                .zip(weights)
                .map(|(place, weight)| (place / side, place % side, weight));
            all.filter(|(.., weight)| *weight != 0.0).collect()
        };
        let sums: Vec<Vec<(usize, usize, f32)>> = self.weights().into_iter().map(nonzero).collect();
        let mut out = vec![0.0; width * height];
        let mut other = vec![0.0; width];
        let mut rows = Vec::new();
        for (y, out) in out.chunks_exact_mut(width).enumerate() {
            let mut sum = |neighbours: &[(usize, usize, f32)], out: &mut [f32]| {
                rows.clear();
                rows.extend(neighbours.iter().map(|(down, across, weight)| {
                    let row = (y + down).saturating_sub(radius).min(height - 1);
                    let row = padded.get(row * wide + across..(row + 1) * wide);
                    (row.unwrap_or_default(), *weight)
                }));
                weigh(&rows, out);
            };
            match sums.as_slice() {
                [one] => sum(one, out),
                [across, down] => {
                    sum(across, out);
                    sum(down, &mut other);
                    for (x, y) in out.iter_mut().zip(&other) {
                        *x = (*x * *x + y * y).sqrt();
                    }
                }
                _ => {}
            }
        }
        out
    }
}

/// Adds rows by their weights, in order; each is at least as long as `out`.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn weigh(rows: &[(&[f32], f32)], out: &mut [f32]) {
    /// This many sums fit in registers.
    const BLOCK: usize = 32;
    let Some(last) = out.len().checked_sub(BLOCK) else {
        for (at, out) in out.iter_mut().enumerate() {
            *out = 0.0;
            for (row, weight) in rows {
                *out += row.get(at).map_or(0.0, |v| weight * v);
            }
        }
        return;
    };
    for at in (0..out.len()).step_by(BLOCK) {
        // the last block may overlap the one before
        let at = at.min(last);
        let mut sums = [0.0; BLOCK];
        for (row, weight) in rows {
            if let Some(row) = row.get(at..).and_then(|row| row.first_chunk::<BLOCK>()) {
                for (sum, v) in sums.iter_mut().zip(row) {
                    *sum += weight * v;
                }
            }
        }
        if let Some(out) = out.get_mut(at..).and_then(|out| out.first_chunk_mut()) {
            *out = sums;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn num(value: f64) -> Num {
        Num::new(value).unwrap()
    }

    #[test]
    fn neighbours_are_weighted_and_edges_replicated() {
        let plane = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let mut weights = [0.0; 9];
        weights[0] = 1.0; // above and to the left
        let kernel = Kernel::Weights(weights.map(num).to_vec());
        assert_eq!(
            kernel.apply(&plane, Size::new(3, 2)),
            [1.0, 1.0, 2.0, 1.0, 1.0, 2.0]
        );
        let mut weights = [0.0; 25];
        weights[22] = 4.0; // two below
        let kernel = Kernel::Weights(weights.map(num).to_vec());
        assert_eq!(
            kernel.apply(&plane, Size::new(2, 3)),
            [16.0, 32.0, 16.0, 32.0, 16.0, 32.0]
        );
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        let plane = [0.5; 30];
        let applied = |name| Kernel::named(name).unwrap().apply(&plane, Size::new(6, 5));
        for name in ["gaussian", "sharpen", "emboss"] {
            assert_eq!(applied(name), plane, "{name}");
        }
        for name in ["sobel", "prewitt", "scharr", "laplace"] {
            assert!(applied(name).iter().all(|v| v.abs() < 1e-6), "{name}");
        }
        for amount in [-0.75, 2.0] {
            let flat = Kernel::Sharpen(num(amount)).apply(&plane, Size::new(6, 5));
            assert!(flat.iter().all(|v| (v - 0.5).abs() < 1e-6), "{amount}: {flat:?}");
        }
    }

    #[test]
    fn gradients_have_equal_strength_in_every_direction() {
        let across: Vec<f32> = (0..9u8).map(|n| f32::from(n % 3)).collect();
        let down: Vec<f32> = (0..9u8).map(|n| f32::from(n / 3)).collect();
        for name in ["sobel", "prewitt", "scharr"] {
            let kernel = Kernel::named(name).unwrap();
            for plane in [&across, &down] {
                assert!(
                    (kernel.apply(plane, Size::new(3, 3))[4] - 8.0).abs() < 1e-5,
                    "{name}"
                );
            }
        }
    }
}
