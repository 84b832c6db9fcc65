//! Steps over samples before they become 8 bits: from a stored [`Raster`] to a [`Picture`] in one pass.
//!
//! Samples become numbers, 0 and 1 being the ends of a channel's range. Intermediate values may exceed 0 to 1; they
//! are clamped once, at the end. The order of the steps is the plan's; `flow` runs them over blocks of pixels,
//! `tables` replaces them by lookups where possible.

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

/// What is done to samples, in this order: ranges, steps, cut.
///
/// L*a*b* and CMYK are sRGB of 8 bits before anything is done to them. Alpha is no channel of these steps: it is kept
/// aside, and colours that are multiplied by it are divided first. NaN is the end of the range that becomes 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    /// What becomes 0 and what becomes 1, of every channel; the first may be above the second. Where both are the same,
    /// what is below them becomes 0 and the rest 1.
    pub ranges: Vec<(Num, Num)>,
    /// Take of each range only what lies between the first and the last filled value of the image's histogram.
    pub stretch: bool,
    /// The steps.
    pub steps: Vec<Step>,
    /// The part of the window that is wanted; the rest is there for the neighbourhoods.
    pub cut: Option<Rect>,
}

impl Chain {
    /// How many pixels beyond its edges a window needs.
    pub fn margin(&self) -> u32 {
        self.steps.iter().map(Step::radius).sum()
    }

    /// The size of what it makes of a window of this one.
    pub fn shown(&self, whole: Size) -> Size {
        self.cut.map_or(whole, |cut| cut.size())
    }

    /// The rows of a window of size `whole` that these rows of what it makes are made of.
    pub fn needs(&self, whole: Size, rows: Range<u32>) -> Range<u32> {
        let (top, margin) = (self.cut.map_or(0, |cut| cut.y), self.margin());
        let end = top.saturating_add(rows.end).saturating_add(margin);
        (top + rows.start).saturating_sub(margin)..end.min(whole.h)
    }

    /// The chain for some rows of the result; its input begins at row `first` of the window.
    pub fn of_rows(&self, whole: Size, first: u32, rows: Range<u32>) -> Chain {
        let shown = self.cut.unwrap_or(Rect::of(whole));
        let y = (shown.y + rows.start).saturating_sub(first);
        let cut = Rect::new(shown.x, y, shown.w, rows.end.saturating_sub(rows.start));
        Chain {
            cut: (self.margin() > 0).then_some(cut),
            ..self.clone()
        }
    }

    /// How many colours it makes, 1 or 3; `None` for those of the image.
    pub fn colours(&self) -> Option<usize> {
        self.steps.iter().rev().find_map(Step::colours)
    }

    /// Carries it out. A raster that has not the samples it says, or fewer channels than the meaning, is `Corrupt`.
    pub fn run(
        &self,
        raster: Raster,
        meaning: &Meaning,
        stats: impl Fn() -> Result<Arc<Stats>>,
    ) -> Result<Picture> {
        if matches!(meaning.colour, Colour::Lab | Colour::Cmyk) {
            let (raster, meaning) = converted(raster, meaning)?;
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
                .wanted(channels, colours)
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

    /// The stored channels that something is made of.
    fn wanted(&self, channels: usize, colours: usize) -> Vec<usize> {
        let first = self.steps.iter().find_map(|step| step.reads(channels));
        first.unwrap_or_else(|| (0..colours).collect())
    }
}

/// L*a*b* or CMYK as sRGB of 8 bits.
fn converted(raster: Raster, meaning: &Meaning) -> Result<(Raster, Meaning)> {
    let raster = Pixels::from(colour::picture(raster, meaning)?).raster()?;
    Ok((raster, Meaning::bytes(Colour::Rgb, meaning.alpha)))
}
