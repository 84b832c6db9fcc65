//! Reduces levels: the mean of each square of samples, at any depth.

use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use std::ops::AddAssign;

/// Divides the sides of a raster by `factor` (1–256), rounding up: each sample is the mean of `factor`² samples of
/// its channel, or of those inside the raster at the right and bottom edges. Integers are rounded to the nearest,
/// halves up.
pub fn reduce(raster: &Raster, factor: u32) -> Raster {
    let factor = factor.clamp(1, 256);
    let size = Size::new(raster.size.w.div_ceil(factor), raster.size.h.div_ceil(factor));
    let shape = ReduceShape {
        width: raster.size.w as usize,
        channels: usize::from(raster.channels),
        factor: factor as usize,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a mean is no larger than the largest sample"
    )]
    let samples = match &raster.samples {
        Samples::U8(from) => Samples::U8(shape.means(from, u32::from, |sum, n| ((sum + n / 2) / n) as u8)),
        Samples::U16(from) => Samples::U16(shape.means(from, u64::from, |sum, n| {
            ((sum + u64::from(n) / 2) / u64::from(n)) as u16
        })),
        Samples::U32(from) => Samples::U32(shape.means(from, u64::from, |sum, n| {
            ((sum + u64::from(n) / 2) / u64::from(n)) as u32
        })),
        Samples::F32(from) => {
            Samples::F32(shape.means(from, f64::from, |sum, n| (sum / f64::from(n)) as f32))
        }
    };
    Raster {
        size,
        channels: raster.channels,
        samples,
    }
}

/// Dimensions of a reduction.
struct ReduceShape {
    width: usize,
    channels: usize,
    factor: usize,
}

impl ReduceShape {
    /// `close` turns a sum and its number of samples into a mean.
    fn means<T, S>(&self, from: &[T], open: impl Fn(T) -> S + Copy, close: impl Fn(S, u32) -> T) -> Vec<T>
    where
        T: Copy,
        S: Copy + Default + AddAssign,
    {
        let &ReduceShape {
            width,
            channels,
            factor,
        } = self;
        let line = (width * channels).max(1);
        let small = width.div_ceil(factor);
        let mut out = Vec::with_capacity(small * channels * (from.len() / line).div_ceil(factor));
        let mut sums = vec![S::default(); small * channels];
        for band in from.chunks(line * factor) {
            sums.fill(S::default());
            let rows = band.len() / line;
            for row in band.chunks_exact(line) {
                match channels {
                    1 => add::<1, T, S>(row, &mut sums, factor, open),
                    3 => add::<3, T, S>(row, &mut sums, factor, open),
                    4 => add::<4, T, S>(row, &mut sums, factor, open),
                    _ => add_any(row, &mut sums, channels, factor, open),
                }
            }
            for (column, sums) in sums.chunks_exact(channels).enumerate() {
                let across = factor.min(width - column * factor);
                let count = u32::try_from(across * rows).unwrap_or(1);
                out.extend(sums.iter().map(|sum| close(*sum, count)));
            }
        }
        out
    }
}

/// Adds a row of any number of channels to the sums of its squares.
fn add_any<T: Copy, S: AddAssign>(
    row: &[T],
    sums: &mut [S],
    channels: usize,
    factor: usize,
    open: impl Fn(T) -> S + Copy,
) {
    let squares = row.chunks(factor * channels);
    for (square, sums) in squares.zip(sums.chunks_exact_mut(channels)) {
        for pixel in square.chunks_exact(channels) {
            for (sum, sample) in sums.iter_mut().zip(pixel) {
                *sum += open(*sample);
            }
        }
    }
}

/// Adds a row of `N` channels to the sums of its squares.
fn add<const N: usize, T: Copy, S: AddAssign>(
    row: &[T],
    sums: &mut [S],
    factor: usize,
    open: impl Fn(T) -> S + Copy,
) {
    let sums = sums.as_chunks_mut::<N>().0;
    for (square, sums) in row.chunks(factor * N).zip(sums) {
        for pixel in square.as_chunks::<N>().0 {
            for (sum, sample) in sums.iter_mut().zip(pixel) {
                *sum += open(*sample);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(w: u32, h: u32, channels: u8, samples: Samples, factor: u32) -> Raster {
        let size = Size::new(w, h);
        reduce(
            &Raster {
                size,
                channels,
                samples,
            },
            factor,
        )
    }

    #[test]
    fn samples_are_means_of_squares_clipped_to_the_raster() {
        let small = reduced(3, 3, 1, Samples::U8(vec![0, 1, 7, 2, 4, 8, 10, 11, 255]), 2);
        assert_eq!(small.size, Size::new(2, 2));
        assert_eq!(small.samples, Samples::U8(vec![2, 8, 11, 255]));
        let pair = reduced(2, 1, 2, Samples::U16(vec![65535, 10, 65534, 11]), 2);
        assert_eq!(pair.samples, Samples::U16(vec![65535, 11]));
        let whole = reduced(4, 4, 1, Samples::F32((0..16u8).map(f32::from).collect()), 4);
        assert_eq!(whole.samples, Samples::F32(vec![7.5]));
        let large = reduced(2, 2, 1, Samples::U32(vec![u32::MAX; 4]), 2);
        assert_eq!(large.samples, Samples::U32(vec![u32::MAX]));
    }

    #[test]
    fn three_halvings_equal_a_division_by_eight_within_rounding() {
        let samples: Vec<u8> = (0..100 * 60 * 3u32).map(|i| (i * i % 251) as u8).collect();
        let full = Raster {
            size: Size::new(100, 60),
            channels: 3,
            samples: Samples::U8(samples),
        };
        let steps = (0..3).fold(full.clone(), |raster, _| reduce(&raster, 2));
        let once = reduce(&full, 8);
        assert_eq!((steps.size, once.size), (Size::new(13, 8), Size::new(13, 8)));
        let (Samples::U8(a), Samples::U8(b)) = (&steps.samples, &once.samples) else {
            panic!("8 bit")
        };
        // squares clipped by the edge are weighted differently
        let inner = |i: usize| i % 39 < 36 && i < 39 * 7;
        let worst = (0..a.len())
            .filter(|&i| inner(i))
            .map(|i| a[i].abs_diff(b[i]))
            .max();
        assert!(worst.unwrap() <= 2, "{worst:?}");
    }
}
