//! The steps of a chain: what each does to numbers, of which 0 and 1 are the ends of a channel's range.

use crate::geometry::Num;
use crate::process::colourmap::ColourMap;
use crate::process::convolve::Kernel;
use crate::process::tone;

/// A step over numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Every row makes a channel out of all channels.
    Mix(Vec<Row>),
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

/// A row of a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// By what the channels are multiplied, from the first; channels beyond the list count 0.
    pub weights: Vec<Num>,
    /// What is added.
    pub constant: Num,
}

impl Row {
    /// Weights alone. Zeros at the end say nothing.
    pub fn of(weights: &[Num]) -> Row {
        let used = weights
            .iter()
            .rposition(|weight| weight.value() != 0.0)
            .map_or(0, |last| last + 1);
        Row {
            weights: weights.iter().take(used).copied().collect(),
            constant: Num::default(),
        }
    }
}

impl Step {
    /// Applies a step that takes each number by itself; the others leave the numbers as they are.
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
