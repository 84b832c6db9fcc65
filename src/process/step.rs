//! The steps of a chain: what each does to numbers, of which 0 and 1 are the ends of a channel's range.

use crate::geometry::Num;
use crate::process::colourmap::ColourMap;
use crate::process::convolve::Kernel;
use crate::process::tone;

/// A step over numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Every row makes a channel out of all channels.
    Mix(Vec<MatrixRow>),
    /// v^g, g above 0.
    Power(Num),
    /// log(1 + 255v) / log(256).
    Logarithm,
    /// 1 − v.
    Invert,
    /// Red, green and blue for the first channel.
    Paint(ColourMap),
    /// What neighbours make.
    Convolve(Kernel),
    /// v · factor.
    Scale(Num),
}

/// What a step makes numbers of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Each of itself.
    Number,
    /// Several channels of one.
    Channel,
    /// Of all channels of the pixel.
    Pixel,
    /// Of a channel of the pixels around it.
    Neighbours,
}

/// A row of a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatrixRow {
    /// By what the channels are multiplied, from the first; channels beyond the list count 0.
    pub weights: Vec<Num>,
    /// What is added.
    pub constant: Num,
}

impl MatrixRow {
    /// Weights alone. Zeros at the end say nothing.
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
    /// What it makes numbers of.
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

    /// How many colours it makes, 1 or 3; `None` when as many as there are.
    pub fn colours(&self) -> Option<usize> {
        match self {
            Step::Mix(rows) => Some(if rows.len() < 3 { 1 } else { 3 }),
            Step::Paint(_) => Some(3),
            Step::Power(_) | Step::Logarithm | Step::Invert => None,
            Step::Convolve(_) | Step::Scale(_) => None,
        }
    }

    /// Which of `channels` channels it reads; `None` when each on its own.
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

    /// Applies a step that [takes each number by itself](Reach::Number); the others leave the numbers as they are.
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
