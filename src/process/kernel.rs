//! Resampling kernels: their support and weights.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions are clamped to the side"
)]

use std::f64::consts::PI;
use std::ops::Range;

/// A resampling kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Nearest neighbour.
    Nearest,
    /// Linear interpolation; when shrinking, a triangle as wide as the reduction.
    Bilinear,
    /// Box filter: the mean of the area that an output pixel covers.
    Area,
    /// Catmull-Rom cubic (R. Keys, IEEE Trans. ASSP 29(6), 1981, with a = −1/2).
    Bicubic,
    /// Lanczos with three lobes (C. Duchon, J. Appl. Meteorology 18, 1979).
    Lanczos,
}

impl Filter {
    /// The kernel for a value of `INTERPOLATION`; bilinear for unknown values.
    pub fn numbered(number: u8) -> Filter {
        let all = [
            Filter::Nearest,
            Filter::Bilinear,
            Filter::Area,
            Filter::Bicubic,
            Filter::Lanczos,
        ];
        all.get(usize::from(number)).copied().unwrap_or(Filter::Bilinear)
    }

    /// The radius of the kernel in input pixels at scale 1; it grows by the reduction factor.
    pub const fn support(self) -> i64 {
        match self {
            Filter::Nearest | Filter::Bilinear | Filter::Area => 1,
            Filter::Bicubic => 2,
            Filter::Lanczos => 3,
        }
    }

    /// The unnormalised weight of a pixel whose centre is `away` input pixels from the centre of an output pixel that
    /// covers `step` input pixels.
    fn weight(self, away: f64, step: f64) -> f64 {
        // kernels are as wide as the reduction, never narrower than one pixel
        let x = (away / step.max(1.0)).abs();
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
        match self {
            Filter::Nearest => 1.0,
            Filter::Bilinear => (1.0 - x).max(0.0),
            Filter::Area => {
                let (from, to) = (away - step / 2.0, away + step / 2.0);
                (to.min(0.5) - from.max(-0.5)).max(0.0)
            }
            Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => ((2.5 - 0.5 * x) * x - 4.0) * x + 2.0,
            Filter::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            Filter::Bicubic | Filter::Lanczos => 0.0,
        }
    }
}

/// The input pixels of one output pixel: the index of the first, and the weights, which sum to 1.
pub struct Tap {
    /// Index of the first pixel.
    pub first: usize,
    /// Not empty.
    pub weights: Vec<f32>,
}

/// The taps of the `wanted` ones of `to` output pixels, over `length` input pixels from `start`, on a side of `side`
/// pixels. At the ends of the side, the remaining weights are normalised.
pub fn taps(start: f64, length: f64, to: u32, side: u32, filter: Filter, wanted: Range<u32>) -> Vec<Tap> {
    let step = length / f64::from(to);
    #[expect(clippy::cast_precision_loss, reason = "at most 3")]
    let reach = step.max(1.0) * filter.support() as f64;
    let last = f64::from(side) - 1.0;
    wanted
        .map(|i| {
            let centre = start + (f64::from(i) + 0.5) * step;
            // pixel p has its centre at p + 1/2
            let first = (centre - reach - 0.5).ceil().clamp(0.0, last) as u32;
            let past = (centre + reach - 0.5).floor().clamp(0.0, last) as u32;
            let weight = |p: u32| filter.weight(f64::from(p) + 0.5 - centre, step);
            let pixels = first..=past.max(first);
            let sum: f64 = pixels.clone().map(weight).sum();
            if filter == Filter::Nearest || sum <= 0.0 {
                return Tap {
                    first: centre.floor().clamp(0.0, last) as usize,
                    weights: vec![1.0],
                };
            }
            Tap {
                first: first as usize,
                weights: pixels.map(|p| (weight(p) / sum) as f32).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Filter; 5] = [
        Filter::Nearest,
        Filter::Bilinear,
        Filter::Area,
        Filter::Bicubic,
        Filter::Lanczos,
    ];

    #[test]
    fn numbers_are_those_of_the_setting() {
        for (number, filter) in (0..).zip(ALL) {
            assert_eq!(Filter::numbered(number), filter);
        }
        assert_eq!(Filter::numbered(99), Filter::Bilinear);
    }

    #[test]
    fn weights_sum_to_one_wherever_the_pixel_lies() {
        for filter in ALL {
            for (start, length, to, side) in [
                (0.0, 100.0, 37, 100),
                (3.25, 10.0, 45, 20),
                (0.0, 1.0, 9, 1),
                (99.5, 0.5, 1, 100),
            ] {
                for tap in taps(start, length, to, side, filter, 0..to) {
                    let sum: f32 = tap.weights.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-5, "{filter:?} {sum}");
                    assert!(tap.first + tap.weights.len() <= side as usize, "{filter:?}");
                }
            }
        }
    }

    #[test]
    fn at_scale_one_pixels_are_unchanged() {
        for filter in ALL {
            for (i, tap) in taps(0.0, 9.0, 9, 9, filter, 0..9).iter().enumerate() {
                for (at, weight) in (tap.first..).zip(&tap.weights) {
                    let wanted = if at == i { 1.0 } else { 0.0 };
                    assert!((weight - wanted).abs() < 1e-6, "{filter:?} {i} {at} {weight}");
                }
            }
        }
    }

    #[test]
    fn area_weighs_what_is_covered() {
        // 5 pixels to 2: the third contributes half to each
        let taps = taps(0.0, 5.0, 2, 5, Filter::Area, 0..2);
        let weights = |i: usize| -> Vec<(usize, f32)> {
            let all = (taps[i].first..).zip(taps[i].weights.iter().copied());
            all.filter(|(_, weight)| *weight > 0.0).collect()
        };
        assert_eq!(weights(0), [(0, 0.4), (1, 0.4), (2, 0.2)]);
        assert_eq!(weights(1), [(2, 0.2), (3, 0.4), (4, 0.4)]);
    }
}
