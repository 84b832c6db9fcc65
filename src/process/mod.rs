//! From a stored [`Raster`] to an encodable [`Picture`]: the steps, in the order in which the plan lists them.
//!
//! Knows pixels only. The order of steps is the plan's (`plan::steps`), never decided here.

pub mod colour;
pub mod kernel;
pub mod lab;
pub mod profile;
pub mod resize;
pub mod rotate;
pub mod turn;
pub mod watermark;

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Size;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;

pub use crate::process::resize::Crop;
pub use crate::process::resize::Filter;
pub use crate::process::watermark::Marks;
pub use crate::process::watermark::Watermark;

/// One step over pixels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
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
    /// Colour to grey, alpha kept.
    Grey,
    /// Grey to black and white at Otsu's threshold of the image's histogram.
    Bitonal,
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

/// Runs the steps. `stats` is called at most once, and only for a step that needs it.
///
/// The first step is always to 8 bits and to the [`Picture`] layout that the meaning of the channels asks for.
pub fn run(
    raster: Raster,
    meaning: &Meaning,
    ops: &[Op],
    stats: impl FnOnce() -> Result<Stats>,
) -> Result<Picture> {
    let mut picture = colour::picture(raster, meaning)?;
    let mut stats = Some(stats);
    for op in ops {
        picture = match op {
            Op::Resize { crop, to, filter } => resize::resize(&picture, *crop, *to, *filter)?,
            Op::Fit(size) => resize::fit(&picture, *size),
            Op::Turn { mirror, quarters } => turn::turn(picture, *mirror, *quarters),
            Op::Rotate {
                degrees,
                to,
                background,
            } => rotate::rotate(&picture, *degrees, *to, *background)?,
            Op::Grey => colour::grey(picture),
            Op::Bitonal => {
                let make = stats
                    .take()
                    .ok_or_else(|| Error::Unsupported("bitonal twice".into()))?;
                colour::bitonal(colour::grey(picture), colour::otsu(&make()?.histogram))
            }
            Op::Flatten(background) => colour::flatten(picture, *background),
            Op::Straighten => colour::straighten(picture),
            Op::Mark(marks) => marks.lay(picture),
        };
    }
    Ok(picture)
}
