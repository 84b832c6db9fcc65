//! Steps over samples before they become 8 bits: converts a stored [`Raster`] to a [`Picture`] in one pass.
//!
//! Samples become numbers, where 0 and 1 are the ends of a channel's range. Intermediate values may exceed 0 to 1;
//! they are clamped once, at the end. The plan defines the order of the steps; `flow` runs them over blocks of
//! pixels, and `tables` replaces them by lookups where possible.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::process::Stats;
use crate::process::colour;
use crate::process::flow::Ends;
use crate::process::flow::Flow;
use crate::process::pixels::Pixels;
use crate::process::step::Step;
use crate::process::tables::Tables;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;
use std::ops::Range;
use std::sync::Arc;

/// The operations on samples, in this order: ranges, steps, cut.
///
/// L*a*b* and CMYK are converted to 8-bit sRGB first. Alpha does not take part in the steps: it is set aside, and
/// premultiplied colours are divided by it first. NaN becomes the end of the range that maps to 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The values that map to 0 and to 1, for each channel; the first may be greater than the second. If both are
    /// equal, smaller values become 0 and all others 1.
    pub ranges: Vec<(Num, Num)>,
    /// Narrows each range to the part between the first and the last non-empty bin of the image's histogram.
    pub stretch: bool,
    /// The steps.
    pub steps: Vec<Step>,
    /// The part of the window that is output; the rest is input for neighbourhoods.
    pub cut: Option<Rect>,
}

impl Chain {
    /// How many pixels beyond its edges a window needs.
    pub fn margin(&self) -> u32 {
        self.steps.iter().map(Step::radius).sum()
    }

    /// The output size for a window of size `whole`.
    pub fn output_size(&self, whole: Size) -> Size {
        self.cut.map_or(whole, |cut| cut.size())
    }

    /// The rows of a window of size `whole` that these rows of the output depend on.
    pub fn needs(&self, whole: Size, rows: Range<u32>) -> Range<u32> {
        let (top, margin) = (self.cut.map_or(0, |cut| cut.y), self.margin());
        let end = top.saturating_add(rows.end).saturating_add(margin);
        (top + rows.start).saturating_sub(margin)..end.min(whole.h)
    }

    /// The chain for some rows of the output; its input begins at row `first` of the window.
    pub fn of_rows(&self, whole: Size, first: u32, rows: Range<u32>) -> Chain {
        let shown = self.cut.unwrap_or(Rect::of(whole));
        let y = (shown.y + rows.start).saturating_sub(first);
        let cut = Rect::new(shown.x, y, shown.w, rows.end.saturating_sub(rows.start));
        Chain {
            cut: (self.margin() > 0).then_some(cut),
            ..self.clone()
        }
    }

    /// The number of output colours, 1 or 3; `None` if it is that of the image.
    pub fn colours(&self) -> Option<usize> {
        self.steps.iter().rev().find_map(Step::colours)
    }

    /// Runs the chain. `Corrupt` if the raster does not contain the samples it declares, or has fewer channels than
    /// `meaning`.
    pub fn run(
        &self,
        raster: Raster,
        meaning: &Meaning,
        stats: impl Fn() -> Result<Arc<Stats>>,
    ) -> Result<Picture> {
        if matches!(meaning.colour, Colour::Lab | Colour::Cmyk) {
            let (raster, meaning) = to_rgb(raster, meaning)?;
            return self.over(&raster, &meaning, stats);
        }
        self.over(&raster, meaning, stats)
    }

    /// Runs the chain over grey or RGB.
    fn over(
        &self,
        raster: &Raster,
        meaning: &Meaning,
        stats: impl Fn() -> Result<Arc<Stats>>,
    ) -> Result<Picture> {
        let size = raster.size;
        let channels = usize::from(raster.channels);
        let colours = meaning.colour.channels();
        let alpha = (meaning.alpha != Alpha::None).then_some(colours);
        let expected = size.area() * channels as u64;
        if expected == 0
            || raster.samples.len() as u64 != expected
            || channels < colours + usize::from(alpha.is_some())
        {
            return Err(Error::Corrupt(format!(
                "{}x{} pixels of {channels} channels, got {} samples for {meaning:?}",
                size.w,
                size.h,
                raster.samples.len()
            )));
        }
        let part = if self.stretch {
            stats()?.filled()
        } else {
            (0.0, 1.0)
        };
        let ends = |channel: usize| {
            let range = self
                .ranges
                .get(channel)
                .map(|(low, high)| (low.value(), high.value()));
            let (low, high) = range.unwrap_or((0.0, 255.0));
            Ends::of(low + (high - low) * part.0, low + (high - low) * part.1)
        };
        let nominal = |channel: usize| {
            let (low, high) = meaning.ranges.get(channel).copied().unwrap_or((0.0, 255.0));
            Ends::of(low, high)
        };
        let flow = Flow {
            steps: &self.steps,
            samples: &raster.samples,
            channels,
            wanted: self
                .needed_channels(channels, colours)
                .into_iter()
                .map(|channel| (channel, ends(channel)))
                .collect(),
            alpha: alpha.map(|channel| (channel, nominal(channel))),
            divide: meaning.alpha == Alpha::Premultiplied,
        };
        if self.margin() > 0 {
            return Ok(flow.around(size, self.cut.unwrap_or(Rect::of(size)), self.margin()));
        }
        Ok(match Tables::of(&flow, expected) {
            Some(tables) => tables.picture(raster),
            None => flow.picture(size),
        })
    }

    /// The stored channels that the output depends on.
    fn needed_channels(&self, channels: usize, colours: usize) -> Vec<usize> {
        let first = self.steps.iter().find_map(|step| step.reads(channels));
        first.unwrap_or_else(|| (0..colours).collect())
    }
}

/// Converts L*a*b* or CMYK to 8-bit sRGB.
fn to_rgb(raster: Raster, meaning: &Meaning) -> Result<(Raster, Meaning)> {
    let raster = Pixels::from(colour::picture(raster, meaning)?).raster()?;
    Ok((raster, Meaning::bytes(Colour::Rgb, meaning.alpha)))
}
