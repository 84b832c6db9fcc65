//! Executes the pixel steps of a plan: from the samples of a window to those of the answer.

pub mod chain;
pub mod colour;
pub mod colourmap;
pub mod convolve;
mod curve;
pub mod flow;
pub mod kernel;
pub mod lab;
mod pixels;
pub mod profile;
pub mod resize;
pub mod rotate;
pub mod step;
mod table_cache;
pub mod tables;
pub mod tone;
pub mod turn;
pub mod watermark;

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Meaning;
use crate::raster::SampleFormat;
use crate::raster::Strip;
use std::ops::Range;
use std::sync::Arc;

pub use crate::process::chain::Chain;
pub use crate::process::pixels::Pixels;
pub use crate::process::resize::Crop;
pub use crate::process::resize::Filter;
pub use crate::process::rotate::Affine;
pub use crate::process::watermark::Marks;
pub use crate::process::watermark::Watermark;
pub use crate::process::watermark::WatermarkSettings;

/// One step over pixels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Steps over samples, which end in 8 bits; only as the first operation.
    Chain(Chain),
    /// Converts to 8 bits by the meaning of the channels. Without this or a chain, samples keep their depth.
    Eight,
    /// Resamples `crop` of the raster to `to`.
    Resize {
        /// The source rectangle, in fractions of a pixel.
        crop: Crop,
        /// Output size.
        to: Size,
        /// Kernel.
        filter: Filter,
    },
    /// Crops or replicates the last column and row to this size, for clients that round the size of a level
    /// differently.
    Fit(Size),
    /// Mirrors left to right first, then rotates clockwise by quarter turns (0–3).
    Turn {
        /// Mirror before rotating.
        mirror: bool,
        /// Clockwise quarter turns, 0–3.
        quarters: u8,
    },
    /// Rotates clockwise about the centre into the bounding box.
    Rotate {
        /// Degrees.
        degrees: Num,
        /// The size of the bounding box: [`rotate::around`].
        to: Size,
        /// The colour of the corners; transparent if `None`.
        background: Option<[u8; 3]>,
    },
    /// Applies an affine map.
    Place {
        /// From output to input coordinates.
        map: Affine,
        /// The output size.
        to: Size,
        /// The colour outside the picture; transparent if `None`.
        background: Option<[u8; 3]>,
    },
    /// Hides everything outside a rectangle.
    Keep {
        /// The visible rectangle; may be empty.
        rect: Rect,
        /// The colour of hidden pixels; transparent if `None`.
        background: Option<[u8; 3]>,
    },
    /// Converts colour to grey; alpha is unchanged.
    Grey,
    /// Converts grey to black and white at Otsu's threshold of the image's histogram.
    Bitonal,
    /// Equalises by the image's histogram.
    Equalise,
    /// Blends alpha over this colour and drops it.
    Flatten([u8; 3]),
    /// Divides premultiplied colours by alpha.
    Straighten,
    /// Applies the watermark.
    Mark(Marks),
}

/// Statistics of the whole image for steps that need them: the histogram of its smallest level, averaged over
/// channels.
pub struct Stats {
    /// Counts of the values 0–255.
    pub histogram: [u64; 256],
}

impl Stats {
    /// The first and the last non-empty bin as fractions of the range; the whole range if fewer than two are filled.
    pub fn filled(&self) -> (f64, f64) {
        let filled = |count: &u64| *count > 0;
        let first = self.histogram.iter().position(filled).unwrap_or(0);
        let last = self.histogram.iter().rposition(filled).unwrap_or(0);
        let share = |value: usize| u8::try_from(value).map_or(1.0, |value| f64::from(value) / 255.0);
        if first < last {
            (share(first), share(last))
        } else {
            (0.0, 1.0)
        }
    }
}

/// A band of output rows, with the input rows that it is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowBand {
    /// The size of the whole window.
    pub whole: Size,
    /// The first row of the window in the input.
    pub first: u32,
    /// The output rows.
    pub wanted: Range<u32>,
}

impl RowBand {
    /// How many rows of the band exist in an output of `all` rows.
    pub fn high(&self, all: u32) -> u32 {
        self.wanted.end.min(all).saturating_sub(self.wanted.start)
    }

    /// The chain for the input rows; the band becomes one of the chain's output, for the `rest` of the steps.
    fn chained(&mut self, chain: &Chain, rest: &[Op]) -> Result<Chain> {
        let whole = chain.output_size(self.whole);
        let rows = needs(rest, whole, self.wanted.clone()).ok_or_else(|| {
            Error::Internal("a part is asked of a step that needs the whole picture".into())
        })?;
        let chain = chain.of_rows(self.whole, self.first, rows.clone());
        (self.whole, self.first) = (whole, rows.start);
        Ok(chain)
    }
}

/// The rows of a window of size `whole` that these output rows depend on; `None` if a step needs the whole picture.
pub fn needs(ops: &[Op], whole: Size, wanted: Range<u32>) -> Option<Range<u32>> {
    if let Some((Op::Chain(chain), ops)) = ops.split_first() {
        let rows = needs(ops, chain.output_size(whole), wanted)?;
        return Some(chain.needs(whole, rows));
    }
    let mut rows = wanted;
    for op in ops.iter().rev() {
        rows = match op {
            Op::Resize { crop, to, filter } => resize::rows(*crop, to.h, whole.h, *filter, rows)?,
            Op::Fit(_) => {
                let start = rows.start.min(whole.h.saturating_sub(1));
                start..rows.end.min(whole.h).max(start + 1)
            }
            Op::Eight | Op::Grey | Op::Bitonal | Op::Equalise | Op::Flatten(_) => rows,
            Op::Straighten | Op::Mark(_) | Op::Turn { quarters: 0, .. } => rows,
            Op::Chain(_) | Op::Turn { .. } | Op::Rotate { .. } | Op::Place { .. } | Op::Keep { .. } => {
                return None;
            }
        };
    }
    Some(rows)
}

/// Whether a step needs [`Stats`].
pub fn asks_stats(ops: &[Op]) -> bool {
    ops.iter().any(|op| match op {
        Op::Bitonal | Op::Equalise => true,
        Op::Chain(chain) => chain.stretch,
        _ => false,
    })
}

/// Whether these steps, apart from the conversion to 8 bits, support samples of `bits` and `kind` in `channels`
/// channels: grey and RGB, straight alpha, unsigned of 9–32 bits, signed or floating point. Unsigned samples of more
/// than 16 bits, and pixels of more than four channels, cannot be resampled.
pub fn keeps_depth(ops: &[Op], meaning: &Meaning, bits: u8, kind: SampleFormat, channels: u8) -> bool {
    let resampled = channels <= 4 && (bits <= 16 || kind != SampleFormat::Unsigned);
    let any_depth = ops.iter().all(|op| match op {
        Op::Eight | Op::Fit(_) | Op::Turn { .. } => true,
        Op::Resize { .. } => resampled,
        _ => false,
    });
    let colour = matches!(meaning.colour, Colour::Grey | Colour::Rgb);
    let straight = meaning.alpha != Alpha::Premultiplied;
    any_depth && colour && straight && (bits > 8 || kind == SampleFormat::Signed)
}

/// Runs the steps over the input rows: a whole window, or the rows that [`needs`] returns for a band. `stats` is
/// called only if a step needs it.
///
/// `Error::Internal` if a step that supports 8 bits only precedes the conversion to 8 bits.
pub fn run<'a>(
    strips: Vec<Strip<'a>>,
    meaning: &Meaning,
    ops: &[Op],
    mut part: Option<RowBand>,
    stats: impl Fn() -> Result<Arc<Stats>>,
) -> Result<Pixels<'a>> {
    let mut pixels = Pixels::stored(strips, meaning);
    let mut left = ops;
    while let Some((op, rest)) = left.split_first() {
        left = rest;
        pixels = match op {
            Op::Chain(chain) => {
                let of_rows = part.as_mut().map(|part| part.chained(chain, rest)).transpose()?;
                let chain = of_rows.as_ref().unwrap_or(chain);
                chain.run(pixels.raster()?, meaning, &stats)?.into()
            }
            Op::Eight => pixels.eight(meaning)?,
            Op::Resize { crop, to, filter } => pixels.resize(part.as_ref(), (*crop, *to, *filter))?,
            Op::Fit(size) => {
                let high = part.as_ref().map_or(size.h, |part| part.high(size.h));
                pixels.moved(|raster| resize::fit(&raster, Size::new(size.w, high)))?
            }
            Op::Turn { mirror, quarters } => pixels.moved(|raster| turn::turn(raster, *mirror, *quarters))?,
            Op::Rotate {
                degrees,
                to,
                background,
            } => rotate::rotate(&pixels.picture()?, *degrees, *to, *background)?.into(),
            Op::Place { map, to, background } => {
                rotate::place(&pixels.picture()?, map, *to, *background)?.into()
            }
            Op::Keep { rect, background } => rotate::keep(pixels.picture()?, *rect, *background).into(),
            Op::Grey => colour::grey(pixels.picture()?).into(),
            Op::Bitonal => {
                let threshold = colour::otsu(&stats()?.histogram);
                colour::bitonal(colour::grey(pixels.picture()?), threshold).into()
            }
            Op::Equalise => colour::equalise(pixels.picture()?, &stats()?.histogram).into(),
            Op::Flatten(background) => colour::flatten(pixels.picture()?, *background).into(),
            Op::Straighten => colour::straighten(pixels.picture()?).into(),
            Op::Mark(marks) => {
                let first = part.as_ref().map_or(0, |part| part.wanted.start);
                marks.lay(pixels.picture()?, first).into()
            }
        };
    }
    Ok(pixels)
}
