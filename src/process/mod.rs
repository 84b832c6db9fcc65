//! Turns the samples of a window into those of an answer by the steps of the plan, in their order.

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
    /// Steps over the samples, after which they are 8 bits: only as the first.
    Chain(Chain),
    /// To 8 bits as the meaning of the channels says. Without this or a chain samples keep their depth.
    Eight,
    /// Resample `crop` of the raster to `to`.
    Resize {
        /// The part that is wanted, to a fraction of a pixel.
        crop: Crop,
        /// Output size.
        to: Size,
        /// Kernel.
        filter: Filter,
    },
    /// Cut off, or repeat, the last column and row until the size is this: for levels that a client rounds otherwise.
    Fit(Size),
    /// Mirror left to right first, then turn clockwise by quarters (0–3).
    Turn {
        /// Mirror before turning.
        mirror: bool,
        /// Clockwise quarter turns, 0–3.
        quarters: u8,
    },
    /// Turn clockwise about the middle into the box around it.
    Rotate {
        /// Degrees.
        degrees: Num,
        /// The size of the box: [`rotate::around`].
        to: Size,
        /// The colour of the corners; transparent without one.
        background: Option<[u8; 3]>,
    },
    /// Show it as an affine map says.
    Place {
        /// From the answer to the picture.
        map: Affine,
        /// The size of the answer.
        to: Size,
        /// The colour of what lies beyond the picture; transparent without one.
        background: Option<[u8; 3]>,
    },
    /// Hide all but this rectangle.
    Keep {
        /// What is kept; may be empty.
        rect: Rect,
        /// The colour of what is hidden; transparent without one.
        background: Option<[u8; 3]>,
    },
    /// Colour to grey, alpha kept.
    Grey,
    /// Grey to black and white at Otsu's threshold of the image's histogram.
    Bitonal,
    /// Spread the values so that the image's histogram becomes even.
    Equalise,
    /// Lay alpha over this colour and drop it.
    Flatten([u8; 3]),
    /// Divide colours by alpha: premultiplied becomes straight.
    Straighten,
    /// Lay the watermark over it.
    Mark(Marks),
}

/// What some steps must know of the whole image: the histogram of its smallest level, averaged over channels.
pub struct Stats {
    /// Counts of the values 0–255.
    pub histogram: [u64; 256],
}

impl Stats {
    /// The first and the last filled value as fractions of the range; all of the range when fewer than two are filled.
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

/// Some rows of a window, for some rows of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowBand {
    /// The size of the whole window.
    pub whole: Size,
    /// The first row of the window that there is.
    pub first: u32,
    /// The rows of the answer that are wanted.
    pub wanted: Range<u32>,
}

impl RowBand {
    /// How many rows are wanted of an answer of `all` rows.
    pub fn high(&self, all: u32) -> u32 {
        self.wanted.end.min(all).saturating_sub(self.wanted.start)
    }

    /// The chain for the rows that there are; the part becomes one of what it makes, for the `rest` of the steps.
    fn chained(&mut self, chain: &Chain, rest: &[Op]) -> Result<Chain> {
        let whole = chain.shown(self.whole);
        let rows = needs(rest, whole, self.wanted.clone()).ok_or_else(|| {
            Error::Internal("a part is asked of a step that needs the whole picture".into())
        })?;
        let chain = chain.of_rows(self.whole, self.first, rows.clone());
        (self.whole, self.first) = (whole, rows.start);
        Ok(chain)
    }
}

/// The rows of a window of size `whole` that these rows of the answer are made of; `None` when one of the steps needs
/// more than rows.
pub fn needs(ops: &[Op], whole: Size, wanted: Range<u32>) -> Option<Range<u32>> {
    if let Some((Op::Chain(chain), ops)) = ops.split_first() {
        let rows = needs(ops, chain.shown(whole), wanted)?;
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

/// Whether one of the steps asks for [`Stats`].
pub fn asks_stats(ops: &[Op]) -> bool {
    ops.iter().any(|op| match op {
        Op::Bitonal | Op::Equalise => true,
        Op::Chain(chain) => chain.stretch,
        _ => false,
    })
}

/// Whether these steps, the conversion to 8 bits left out, can be taken over samples of `bits` and `kind`, of `channels`
/// channels: grey and RGB, straight alpha, unsigned of 9–32 bits, signed or floating point. Unsigned samples of more than
/// 16 bits, and pixels of more than four channels, are not resampled.
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

/// Runs the steps over the rows that were read: all of a window, or those that [`needs`] says for a part of the answer.
/// `stats` is called only for a step that needs it.
///
/// A step that exists for 8 bits only and comes before a conversion to them is `Error::Internal`.
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
