//! Turns a stored [`Raster`] into an encodable [`Picture`] by the steps of the plan, in their order.

pub mod chain;
pub mod colour;
pub mod colourmap;
pub mod convolve;
mod curve;
pub mod deep;
pub mod flow;
pub mod kernel;
pub mod lab;
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
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Strips;
use crate::raster::gather;
use std::ops::Range;
use std::sync::Arc;

pub use crate::process::chain::Chain;
pub use crate::process::resize::Crop;
pub use crate::process::resize::Filter;
pub use crate::process::rotate::Affine;
pub use crate::process::watermark::Marks;
pub use crate::process::watermark::Watermark;
pub use crate::process::watermark::WatermarkSettings;

/// One step over pixels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Steps over the samples, before they become 8 bits: only as the first.
    Chain(Chain),
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
pub struct Part {
    /// The size of the whole window.
    pub whole: Size,
    /// The first row of the window that there is.
    pub first: u32,
    /// The rows of the answer that are wanted.
    pub wanted: Range<u32>,
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
            Op::Grey | Op::Bitonal | Op::Equalise | Op::Flatten(_) | Op::Straighten | Op::Mark(_) => rows,
            Op::Turn { quarters: 0, .. } => rows,
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

/// Runs the steps. `stats` is called only for a step that needs it.
///
/// What is first is always to 8 bits and to a [`Picture`]: by a chain, or as the meaning of the channels says.
pub fn run(
    raster: Raster,
    meaning: &Meaning,
    ops: &[Op],
    stats: impl Fn() -> Result<Arc<Stats>>,
) -> Result<Picture> {
    match ops.split_first() {
        Some((Op::Chain(chain), ops)) => over(chain.run(raster, meaning, &stats)?, ops, None, stats),
        _ => over(colour::picture(raster, meaning)?, ops, None, stats),
    }
}

/// Runs the steps for a part of the answer; the strips are the rows that [`needs`] says.
pub fn run_part(
    strips: &Strips,
    meaning: &Meaning,
    ops: &[Op],
    part: &Part,
    stats: impl Fn() -> Result<Arc<Stats>>,
) -> Result<Picture> {
    let as_they_lie = colour::rows(strips, meaning);
    match (ops.split_first(), as_they_lie) {
        (Some((Op::Chain(chain), ops)), _) => {
            let whole = chain.shown(part.whole);
            let rows = needs(ops, whole, part.wanted.clone());
            let rows =
                rows.ok_or_else(|| Error::Unsupported("a step that needs the whole picture".into()))?;
            let first = rows.start;
            let chain = chain.of_rows(part.whole, part.first, rows);
            let part = Part {
                whole,
                first,
                wanted: part.wanted.clone(),
            };
            over(
                chain.run(gather(strips)?, meaning, &stats)?,
                ops,
                Some(&part),
                stats,
            )
        }
        (Some((Op::Resize { crop, to, filter }, ops)), Some((rows, layout))) => {
            let picture = resize::resize_part(&rows, layout, part, *crop, *to, *filter)?;
            over(picture, ops, Some(part), stats)
        }
        _ => over(colour::picture(gather(strips)?, meaning)?, ops, Some(part), stats),
    }
}

/// Runs the steps over 8 bits.
fn over(
    mut picture: Picture,
    ops: &[Op],
    part: Option<&Part>,
    stats: impl Fn() -> Result<Arc<Stats>>,
) -> Result<Picture> {
    for op in ops {
        picture = match op {
            Op::Chain(_) => return Err(Error::Unsupported("samples are 8 bits already".into())),
            Op::Resize { crop, to, filter } => match part {
                Some(part) => {
                    resize::resize_part(&(&picture).into(), picture.layout, part, *crop, *to, *filter)?
                }
                None => resize::resize(&picture, *crop, *to, *filter)?,
            },
            Op::Fit(size) => {
                let high = part.map_or(size.h, |part| part.wanted.end - part.wanted.start);
                resize::fit(&picture, Size::new(size.w, high))
            }
            Op::Turn { mirror, quarters } => turn::turn(picture, *mirror, *quarters),
            Op::Rotate {
                degrees,
                to,
                background,
            } => rotate::rotate(&picture, *degrees, *to, *background)?,
            Op::Place { map, to, background } => rotate::place(&picture, map, *to, *background)?,
            Op::Keep { rect, background } => rotate::keep(picture, *rect, *background),
            Op::Grey => colour::grey(picture),
            Op::Bitonal => colour::bitonal(colour::grey(picture), colour::otsu(&stats()?.histogram)),
            Op::Equalise => colour::equalise(picture, &stats()?.histogram),
            Op::Flatten(background) => colour::flatten(picture, *background),
            Op::Straighten => colour::straighten(picture),
            Op::Mark(marks) => marks.lay(picture, part.map_or(0, |part| part.wanted.start)),
        };
    }
    Ok(picture)
}
