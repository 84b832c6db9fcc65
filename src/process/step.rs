//! The steps of a chain and their effect on numbers; 0 and 1 are the ends of a channel's range.

use crate::geometry::Num;
use crate::process::colourmap::ColourMap;
use crate::process::convolve::Kernel;
use crate::process::tone;

/// A step over numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Each row computes one channel from all channels.
    Mix(Vec<MatrixRow>),
    /// v^g, g above 0.
    Power(Num),
    /// log(1 + 255v) / log(256).
    Logarithm,
    /// 1 − v.
    Invert,
    /// Maps the first channel to red, green and blue.
    Paint(ColourMap),
    /// Convolves each channel.
    Convolve(Kernel),
    /// v · factor.
    Scale(Num),
}

/// What an output number of a step depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On the same number.
    Number,
    /// On one number, which gives several channels.
    Channel,
    /// On all channels of the pixel.
    Pixel,
    /// On the same channel of surrounding pixels.
    Neighbours,
}

/// A row of a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatrixRow {
    /// Factors of the channels, from the first; channels beyond the list count 0.
    pub weights: Vec<Num>,
    /// Added constant.
    pub constant: Num,
}

impl MatrixRow {
    /// A row without a constant. Trailing zeros are dropped.
    pub fn of(weights: &[Num]) -> MatrixRow {
        let used = weights
            .iter()
            .rposition(|weight| weight.value() != 0.0)
            .map_or(0, |last| last + 1);
        MatrixRow {
            weights: weights.iter().take(used).copied().collect(),
            constant: Num::default(),
        }
    }
}

impl Step {
    /// What its output numbers depend on.
    pub fn reach(&self) -> Reach {
        match self {
            Step::Power(_) | Step::Logarithm | Step::Invert | Step::Scale(_) => Reach::Number,
            Step::Paint(_) => Reach::Channel,
            Step::Mix(_) => Reach::Pixel,
            Step::Convolve(_) => Reach::Neighbours,
        }
    }

    /// How many pixels beyond its edges a window needs.
    pub fn radius(&self) -> u32 {
        match self {
            Step::Convolve(kernel) => kernel.radius(),
            Step::Mix(_) | Step::Power(_) | Step::Logarithm => 0,
            Step::Invert | Step::Paint(_) | Step::Scale(_) => 0,
        }
    }

    /// The number of output colours, 1 or 3; `None` if unchanged.
    pub fn colours(&self) -> Option<usize> {
        match self {
            Step::Mix(rows) => Some(if rows.len() < 3 { 1 } else { 3 }),
            Step::Paint(_) => Some(3),
            Step::Power(_) | Step::Logarithm | Step::Invert => None,
            Step::Convolve(_) | Step::Scale(_) => None,
        }
    }

    /// Which of `channels` channels it reads; `None` if it processes each separately.
    pub fn reads(&self, channels: usize) -> Option<Vec<usize>> {
        match self {
            Step::Mix(rows) => {
                let used = |channel: &usize| {
                    let weight =
                        |row: &MatrixRow| row.weights.get(*channel).is_some_and(|w| w.value() != 0.0);
                    rows.iter().any(weight)
                };
                let used: Vec<usize> = (0..channels).filter(used).collect();
                Some(if used.is_empty() { vec![0] } else { used })
            }
            Step::Paint(_) => Some(vec![0]),
            Step::Power(_) | Step::Logarithm | Step::Invert => None,
            Step::Convolve(_) | Step::Scale(_) => None,
        }
    }

    /// Applies a step that [works on single numbers](Reach::Number); other steps leave the numbers unchanged.
    #[expect(clippy::cast_possible_truncation, reason = "pixels are of single precision")]
    pub fn apply(&self, values: &mut [f32]) {
        match self {
            Step::Power(exponent) => tone::power(values, exponent.value() as f32),
            Step::Logarithm => tone::logarithm(values),
            Step::Invert => tone::invert(values),
            Step::Scale(factor) => tone::scale(values, factor.value() as f32),
            Step::Mix(_) | Step::Paint(_) | Step::Convolve(_) => {}
        }
    }
}
