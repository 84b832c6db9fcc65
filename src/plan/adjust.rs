//! Requested changes to pixels, and the chain of steps that applies them to the samples of an image.
//!
//! Equivalent requests give the same chain: a factor of 1, the image's own range and an identity matrix are dropped,
//! so that the plan equals that of the unchanged image.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::plan::Tone;
use crate::plan::placing::Placing;
use crate::process::Chain;
use crate::process::colourmap::ColourMap;
use crate::process::convolve::Kernel;
use crate::process::step::MatrixRow;
use crate::process::step::Step;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Meaning;
use crate::source::Header;

/// Changes to the pixels, independent of region and size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Adjust {
    /// Mirrored left to right before rotation.
    pub mirror: bool,
    /// Clockwise rotation in degrees, 0 ≤ d < 360. Unless it is a multiple of 90, the answer grows to the bounding
    /// box.
    pub degrees: Num,
    /// Colour conversion of the answer.
    pub tone: Tone,
    /// Changes to the samples.
    pub samples: Treatment,
    /// Whether the image's histogram is equalised.
    pub equalise: bool,
    /// Window, map and visible rectangle (FlashPix). Tiles only apply the visible rectangle.
    pub placing: Placing,
    /// Maximum number of quality layers, for images that have layers.
    pub layers: Option<u16>,
}

/// Changes to samples before they become 8 bits. The order in which they are requested does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Treatment {
    /// Channel (from 0; `None` for all), and the values that map to 0 and 1. The last entry for a channel applies.
    pub ranges: Vec<(Option<usize>, Num, Num)>,
    /// Whether the first and last filled values of the image's histogram map to 0 and 1 instead.
    pub stretch: bool,
    /// Light on a normal map: azimuth in degrees clockwise from the top, elevation in degrees above the horizon.
    pub light: Option<[Num; 2]>,
    /// A matrix over the channels.
    pub matrix: Option<Matrix>,
    /// A tone curve.
    pub curve: Option<Curve>,
    /// Whether values are inverted.
    pub invert: bool,
    /// A colour map for grey.
    pub map: Option<ColourMap>,
    /// Sharpens above 0, blurs below (IIP 1.0.5 §2.2.1.1: a step of 1 must be visible).
    pub filter: Num,
    /// A convolution.
    pub kernel: Option<Kernel>,
    /// Factor on all values, applied last.
    pub contrast: Option<Num>,
}

/// A tone curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// v^g with g > 0.
    Power(Num),
    /// log(1 + 255v) / log(256).
    Logarithm,
}

/// A linear map of the channels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// Rows are channels of the answer, columns are channels of the image.
    Channels(Vec<Vec<Num>>),
    /// 4 × 4 over PhotoYCC: luma, two colour differences and 1 (IIP 1.0.5 §2.2.1.1, FlashPix 1.0.1 §7.2).
    Twist([Num; 16]),
}

impl Treatment {
    /// The steps over the samples of this image; `None` when there are none.
    ///
    /// Errors: `Malformed` for light on an image of fewer than three channels.
    pub fn chain(&self, header: &Header) -> Result<Option<Chain>> {
        if *self == Treatment::default() {
            return Ok(None);
        }
        let own = ranges(header);
        let mut ranges = own.clone();
        for (channel, low, high) in self.ranges.iter().filter(|_| !self.stretch) {
            let end = |range: &mut (Num, Num)| *range = (*low, *high);
            match channel {
                Some(channel) => ranges.get_mut(*channel).into_iter().for_each(end),
                None => ranges.iter_mut().for_each(end),
            }
        }
        // ranges do not apply to alpha
        if header.meaning.alpha != Alpha::None
            && let place = header.meaning.colour.channels()
            && let (Some(range), Some(own)) = (ranges.get_mut(place), own.get(place))
        {
            *range = *own;
        }
        let steps = self.steps(header)?;
        let idle = steps.is_empty() && !self.stretch && ranges == own;
        Ok((!idle).then_some(Chain {
            ranges,
            stretch: self.stretch,
            steps,
            cut: None,
        }))
    }

    /// The steps in the order of iipsrv-requests(7): light, matrix, curve, inversion, colour map, filter,
    /// convolution, contrast.
    fn steps(&self, header: &Header) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let mut channels = header.meaning.colour.channels();
        if let Some([around, above]) = self.light {
            if seen(header) < 3 {
                return Err(Error::Malformed(format!(
                    "SHD takes an image of three channels, this has {}",
                    seen(header)
                )));
            }
            steps.push(Step::Mix(vec![light(around.value(), above.value())?]));
            channels = 1;
        }
        let mut rows: Vec<MatrixRow> = match &self.matrix {
            Some(Matrix::Channels(rows)) => rows.iter().map(|weights| MatrixRow::of(weights)).collect(),
            Some(Matrix::Twist(twist)) => twist_rows(twist, channels == 1)?,
            None => Vec::new(),
        };
        // output formats hold one or three channels
        rows.truncate(if rows.len() < 3 { 1 } else { 3 });
        if !rows.is_empty() && !is_identity(&rows, channels) {
            steps.push(Step::Mix(rows));
        }
        match self.curve {
            Some(Curve::Power(exponent)) if exponent.value() == 1.0 => {}
            Some(Curve::Power(exponent)) => steps.push(Step::Power(exponent)),
            Some(Curve::Logarithm) => steps.push(Step::Logarithm),
            None => {}
        }
        if self.invert {
            steps.push(Step::Invert);
        }
        steps.extend(self.map.map(Step::Paint));
        steps.extend(sharpening(self.filter).map(Step::Convolve));
        steps.extend(self.kernel.clone().map(Step::Convolve));
        steps.extend(
            self.contrast
                .filter(|factor| factor.value() != 1.0)
                .map(Step::Scale),
        );
        Ok(steps)
    }
}

/// Number of channels that the steps see.
fn seen(header: &Header) -> usize {
    match header.meaning.colour {
        Colour::Lab | Colour::Cmyk => 3,
        Colour::Grey | Colour::Rgb => {
            usize::from(header.channels) - usize::from(header.meaning.alpha != Alpha::None)
        }
    }
}

/// The values that map to 0 and 1 of every channel by default.
fn ranges(header: &Header) -> Vec<(Num, Num)> {
    let bytes;
    let meaning = match header.meaning.colour {
        Colour::Lab | Colour::Cmyk => {
            bytes = Meaning::bytes(Colour::Rgb, header.meaning.alpha);
            &bytes
        }
        Colour::Grey | Colour::Rgb => &header.meaning,
    };
    let num = |value| Num::new(value).unwrap_or_default();
    meaning
        .ranges
        .iter()
        .map(|(low, high)| (num(*low), num(*high)))
        .collect()
}

fn is_identity(rows: &[MatrixRow], channels: usize) -> bool {
    let weight = |row: &MatrixRow, column| row.weights.get(column).map_or(0.0, |weight: &Num| weight.value());
    let own = |(place, row): (usize, &MatrixRow)| {
        row.constant.value() == 0.0
            && (0..row.weights.len().max(place + 1))
                .all(|column| weight(row, column) == f64::from(u8::from(column == place)))
    };
    rows.len() == channels && rows.iter().enumerate().all(own)
}

/// Shading of normals whose components −1 to 1 are stored as 0 to 1, as iipsrv computes it: half of the dot product
/// with the unit vector in the direction (−sin h, −cos h, sin v).
fn light(around: f64, above: f64) -> Result<MatrixRow> {
    let (x, y, z) = (
        -around.to_radians().sin(),
        -around.to_radians().cos(),
        above.to_radians().sin(),
    );
    let length = (x * x + y * y + z * z).sqrt();
    // n = 2v − 1, and half of it is v − ½
    let parts = [x / length, y / length, z / length];
    Ok(MatrixRow {
        weights: parts.iter().map(|part| finite(*part)).collect::<Result<_>>()?,
        constant: finite(-parts.iter().sum::<f64>() / 2.0)?,
    })
}

/// A PhotoYCC matrix as rows over red, green and blue, or over the one channel of grey.
///
/// Luma, blue − luma and red − luma are scaled as in FlashPix 1.0.1 §5.4. The fourth column is an offset; the fourth
/// row would change opacity, and is ignored.
fn twist_rows(twist: &[Num; 16], grey: bool) -> Result<Vec<MatrixRow>> {
    const TO: [[f64; 3]; 3] = [
        [0.299, 0.587, 0.114],
        [-0.299, -0.587, 0.886],
        [0.701, -0.587, -0.114],
    ];
    const BACK: [[f64; 3]; 3] = [
        [1.0, 0.0, 1.0],
        [1.0, -0.114 / 0.587, -0.299 / 0.587],
        [1.0, 1.0, 0.0],
    ];
    const SCALE: [f64; 3] = [1.0 / 1.402, 111.40 / 255.0, 135.64 / 255.0];
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = twist.map(Num::value);
    let rows = [([a, b, c], d), ([e, f, g], h), ([i, j, k], l)];
    let over = |row: usize, pick: &dyn Fn(&[f64; 3], f64) -> f64| -> f64 {
        let back = BACK.get(row).copied().unwrap_or_default();
        rows.iter()
            .zip(back)
            .zip(SCALE)
            .map(|(((row, constant), back), scale)| back / scale * pick(row, *constant))
            .sum()
    };
    let weight = |row: usize, column: usize| -> f64 {
        over(row, &|weights, _| {
            let parts = weights.iter().zip(TO).zip(SCALE);
            parts
                .map(|((weight, to), scale)| weight * scale * to.get(column).copied().unwrap_or(0.0))
                .sum()
        })
    };
    let mut rows = (0..3)
        .map(|row| {
            let weights = [weight(row, 0), weight(row, 1), weight(row, 2)];
            let weights = if grey {
                vec![weights.iter().sum()]
            } else {
                weights.to_vec()
            };
            Ok(MatrixRow {
                weights: weights.into_iter().map(finite).collect::<Result<_>>()?,
                constant: finite(over(row, &|_, constant| constant))?,
            })
        })
        .collect::<Result<Vec<MatrixRow>>>()?;
    if rows.iter().skip(1).all(|row| Some(row) == rows.first()) {
        rows.truncate(1);
    }
    Ok(rows)
}

/// A finite number for a plan, rounded to nine decimal places so that equal requests have equal plans.
fn finite(value: f64) -> Result<Num> {
    Num::new((value * 1e9).round() / 1e9).ok_or_else(|| Error::Malformed("numbers are too large".into()))
}

/// Adds half of the difference from a blur per step above 0; below 0 removes 1/3, 1/2, 3/5 … of it.
fn sharpening(filter: Num) -> Option<Kernel> {
    let steps = filter.value();
    let amount = if steps < 0.0 {
        steps / (2.0 - steps)
    } else {
        steps / 2.0
    };
    Num::new(amount).filter(|_| steps != 0.0).map(Kernel::Sharpen)
}
