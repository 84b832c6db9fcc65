//! Changes to pixels as they were requested, and the chain that applies them to the samples of an image.
//!
//! Equivalent requests give the same chain: a factor of 1, the image's own range or an identity matrix disappear,
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
    /// Mirror left to right before turning.
    pub mirror: bool,
    /// Clockwise turn in degrees, 0 ≤ d < 360. Other than by right angles the answer grows to the box around it.
    pub degrees: Num,
    /// Colours.
    pub tone: Tone,
    /// What is done to the samples.
    pub samples: Treatment,
    /// Spread the values by the image's histogram.
    pub equalise: bool,
    /// How the image is looked at. Tiles know only what is hidden.
    pub placing: Placing,
    /// Quality layers, of images that are stored in such.
    pub layers: Option<u16>,
}

/// What is done to samples before they become 8 bits. The order in which it is asked does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Treatment {
    /// Channels, from 0, and what becomes 0 and 1 of them; `None` is every channel. The last word on a channel counts.
    pub ranges: Vec<(Option<usize>, Num, Num)>,
    /// What becomes 0 and 1 is the first and the last filled value of the image's histogram instead.
    pub stretch: bool,
    /// Light on a map of normals: degrees clockwise from above, degrees over the horizon.
    pub light: Option<[Num; 2]>,
    /// A matrix over the channels.
    pub matrix: Option<Matrix>,
    /// A curve.
    pub curve: Option<Curve>,
    /// Whether dark becomes bright.
    pub invert: bool,
    /// Colours for grey.
    pub map: Option<ColourMap>,
    /// Sharper above 0, blurred below (IIP 1.0.5 §2.2.1.1: a step of 1 is to be seen).
    pub filter: Num,
    /// A convolution.
    pub kernel: Option<Kernel>,
    /// By what everything is multiplied in the end.
    pub contrast: Option<Num>,
}

/// A curve over all values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// v^g, g above 0.
    Power(Num),
    /// log(1 + 255v) / log(256).
    Logarithm,
}

/// A matrix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// Rows are channels of the answer, columns those of the image.
    Channels(Vec<Vec<Num>>),
    /// Over luma, two differences of colour, and 1 (IIP 1.0.5 §2.2.1.1, FlashPix 1.0.1 §7.2: PhotoYCC).
    Twist([Num; 16]),
}

impl Treatment {
    /// The steps over the samples of this image; `None` when nothing has to be done.
    ///
    /// Errors: `Malformed` when light is asked for and the image has fewer than three channels.
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
        // alpha is no channel of these
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

    /// In the order of iipsrv-requests(7): light, matrix, curve, inversion, colour map, filter, convolution, contrast.
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
            Some(Matrix::Twist(twist)) => twisted(twist, channels == 1)?,
            None => Vec::new(),
        };
        // what no format holds
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

/// Channels that the steps see.
fn seen(header: &Header) -> usize {
    match header.meaning.colour {
        Colour::Lab | Colour::Cmyk => 3,
        Colour::Grey | Colour::Rgb => {
            usize::from(header.channels) - usize::from(header.meaning.alpha != Alpha::None)
        }
    }
}

/// What becomes 0 and 1 of every channel unless it is said otherwise.
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

/// What a light makes of normals whose components are 0 to 1 for −1 to 1, as iipsrv draws it: half of the product with
/// the vector (−sin h, −cos h, sin v), which is made one long.
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

/// A twist of PhotoYCC as rows over red, green and blue (of grey: over the one channel).
///
/// Luma, blue − luma and red − luma are scaled as FlashPix 1.0.1 §5.4 scales them. The fourth column is added; the fourth
/// row would change opacity, and is left.
fn twisted(twist: &[Num; 16], grey: bool) -> Result<Vec<MatrixRow>> {
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

/// A number that is kept in a plan: rounded to nine decimal places, so that equal requests have equal plans.
fn finite(value: f64) -> Result<Num> {
    Num::new((value * 1e9).round() / 1e9).ok_or_else(|| Error::Malformed("numbers are too large".into()))
}

/// Half of what a blur takes away for each step above 0; below it a third, a half, three fifths … of the blur.
fn sharpening(filter: Num) -> Option<Kernel> {
    let steps = filter.value();
    let amount = if steps < 0.0 {
        steps / (2.0 - steps)
    } else {
        steps / 2.0
    };
    Num::new(amount).filter(|_| steps != 0.0).map(Kernel::Sharpen)
}
