//! Steps over samples before they become 8 bits: from a stored [`Raster`] to a [`Picture`] in one pass.
//!
//! Samples become numbers, 0 and 1 being the ends of a channel's range; what lies outside is kept until the end, where
//! it is cut. Pixels go through all steps in blocks that stay in the nearest cache; curves of 8 and 16 bits are
//! looked up. The order of the steps is the plan's.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::process::Stats;
use crate::process::colour;
use crate::process::colourmap::ColourMap;
use crate::process::convolve::Kernel;
use crate::process::tone;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Layout;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Samples;
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

/// Pixels of a block when no step looks at neighbours: three channels of them are in the nearest cache.
const BLOCK: usize = 2048;

impl Chain {
    /// How many pixels beyond its edges a window needs.
    pub fn margin(&self) -> u32 {
        let radius = |step: &Step| match step {
            Step::Convolve(kernel) => kernel.radius(),
            _ => 0,
        };
        self.steps.iter().map(radius).sum()
    }

    /// How many colours it makes, 1 or 3; `None` for those of the image.
    pub fn colours(&self) -> Option<usize> {
        let made = |step: &Step| match step {
            Step::Mix(rows) => Some(if rows.len() < 3 { 1 } else { 3 }),
            Step::Paint(_) => Some(3),
            _ => None,
        };
        self.steps.iter().rev().find_map(made)
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

    /// The same for grey and RGB.
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
        let neighbours = self.margin() > 0;
        let pixels = raster.samples.len() / channels;
        if !neighbours && let Some(tables) = flow.tables(pixels) {
            return Ok(tables.picture(raster));
        }
        let block = if neighbours { pixels } else { BLOCK };
        let cut = self.cut.unwrap_or(Rect::of(size));
        let mut data = Vec::new();
        let mut colours = 1;
        for first in (0..pixels).step_by(block) {
            let planes = flow.planes(first..pixels.min(first + block), size);
            let mut planes: Vec<Vec<u8>> = planes
                .iter()
                .map(|plane| {
                    let bytes = plane.iter().copied().map(tone::byte).collect();
                    if neighbours {
                        cropped(bytes, size, cut)
                    } else {
                        bytes
                    }
                })
                .collect();
            let opacity = alpha.and_then(|_| planes.pop());
            colours = if planes.len() < 3 { 1 } else { 3 };
            data.reserve(pixels * (colours + usize::from(alpha.is_some())).min(4));
            interleave(&planes, opacity.as_deref(), &mut data);
        }
        Ok(Picture {
            size: if neighbours { cut.size() } else { size },
            layout: layout(colours, alpha.is_some()),
            data,
        })
    }

    /// The stored channels that something is made of.
    fn wanted(&self, channels: usize, colours: usize) -> Vec<usize> {
        let first = self.steps.iter().find_map(|step| match step {
            Step::Mix(rows) => {
                let used = |channel: &usize| {
                    let weight = |row: &Row| row.weights.get(*channel).is_some_and(|w| w.value() != 0.0);
                    rows.iter().any(weight)
                };
                let used: Vec<usize> = (0..channels).filter(used).collect();
                Some(if used.is_empty() { vec![0] } else { used })
            }
            Step::Paint(_) => Some(vec![0]),
            _ => None,
        });
        first.unwrap_or_else(|| (0..colours).collect())
    }
}

/// L*a*b* or CMYK as sRGB of 8 bits.
fn converted(raster: Raster, meaning: &Meaning) -> Result<(Raster, Meaning)> {
    let picture = colour::picture(raster, meaning)?;
    let raster = Raster {
        size: picture.size,
        channels: if picture.layout == Layout::Rgba { 4 } else { 3 },
        samples: Samples::U8(picture.data),
    };
    Ok((raster, Meaning::bytes(Colour::Rgb, meaning.alpha)))
}

const fn layout(colours: usize, alpha: bool) -> Layout {
    match (colours, alpha) {
        (_, true) => Layout::Rgba,
        (1, false) => Layout::Grey,
        _ => Layout::Rgb,
    }
}

/// The part of a channel of `size` pixels that lies in `cut`.
fn cropped(plane: Vec<u8>, size: Size, cut: Rect) -> Vec<u8> {
    if cut == Rect::of(size) {
        return plane;
    }
    let (x, wide) = (cut.x as usize, cut.w as usize);
    let rows = plane
        .chunks_exact(size.w as usize)
        .skip(cut.y as usize)
        .take(cut.h as usize);
    rows.flat_map(|row| row.get(x..x + wide).unwrap_or_default())
        .copied()
        .collect()
}

/// Adds pixels of one or the first three planes to `out`; with alpha, grey becomes colour.
fn interleave(planes: &[Vec<u8>], alpha: Option<&[u8]>, out: &mut Vec<u8>) {
    match (planes, alpha) {
        ([r, g, b, ..], None) => {
            let pixels = r.iter().zip(g).zip(b).map(|((r, g), b)| [*r, *g, *b]);
            out.extend_from_slice(pixels.collect::<Vec<_>>().as_flattened());
        }
        ([r, g, b, ..], Some(alpha)) => {
            let pixels = r
                .iter()
                .zip(g)
                .zip(b)
                .zip(alpha)
                .map(|(((r, g), b), a)| [*r, *g, *b, *a]);
            out.extend_from_slice(pixels.collect::<Vec<_>>().as_flattened());
        }
        ([v, ..], Some(alpha)) => {
            let pixels = v.iter().zip(alpha).map(|(v, a)| [*v, *v, *v, *a]);
            out.extend_from_slice(pixels.collect::<Vec<_>>().as_flattened());
        }
        ([v, ..], None) => out.extend_from_slice(v),
        ([], _) => {}
    }
}

/// How a sample becomes a number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ends {
    low: f64,
    scale: f64,
    /// Both ends are the same.
    empty: bool,
}

impl Ends {
    fn of(low: f64, high: f64) -> Ends {
        Ends {
            low,
            scale: 1.0 / (high - low),
            empty: low == high,
        }
    }
}

/// What steps work on.
struct Flow<'a> {
    steps: &'a [Step],
    samples: &'a Samples,
    channels: usize,
    /// The channels that are read, and their ranges.
    wanted: Vec<(usize, Ends)>,
    alpha: Option<(usize, Ends)>,
    /// Whether colours are multiplied by alpha.
    divide: bool,
}

impl Flow<'_> {
    /// The channels after all steps, of these pixels, and alpha at the end. Steps that look at neighbours need all
    /// pixels.
    #[expect(clippy::cast_possible_truncation, reason = "pixels are of single precision")]
    fn planes(&self, pixels: Range<usize>, size: Size) -> Vec<Vec<f32>> {
        let mut planes: Vec<Vec<f32>> = self
            .wanted
            .iter()
            .map(|(channel, ends)| self.read(&pixels, *channel, *ends))
            .collect();
        let alpha = self
            .alpha
            .map(|(channel, ends)| self.read(&pixels, channel, ends));
        if let Some(alpha) = alpha.as_ref().filter(|_| self.divide) {
            for plane in &mut planes {
                for (v, alpha) in plane.iter_mut().zip(alpha) {
                    *v = if *alpha > 0.0 { *v / *alpha } else { 0.0 };
                }
            }
        }
        // by what number a step calls the channels
        let mut names: Vec<usize> = self.wanted.iter().map(|(channel, _)| *channel).collect();
        for step in self.steps {
            match step {
                Step::Mix(rows) => {
                    planes = rows.iter().map(|row| mixed(row, &names, &planes)).collect();
                    names = (0..planes.len()).collect();
                }
                Step::Power(exponent) => each(&mut planes, |v| tone::power(v, exponent.value() as f32)),
                Step::Logarithm => each(&mut planes, tone::logarithm),
                Step::Invert => each(&mut planes, tone::invert),
                Step::Paint(map) => {
                    planes = map.paint(planes.first().map_or(&[], Vec::as_slice)).into();
                    names = vec![0, 1, 2];
                }
                Step::Convolve(kernel) => {
                    planes = planes.iter().map(|plane| kernel.apply(plane, size)).collect();
                }
                Step::Scale(factor) => each(&mut planes, |v| tone::scale(v, factor.value() as f32)),
            }
        }
        planes.extend(alpha);
        planes
    }

    #[expect(clippy::cast_possible_truncation, reason = "pixels are of single precision")]
    fn read(&self, pixels: &Range<usize>, channel: usize, ends: Ends) -> Vec<f32> {
        /// Far outside of every range, and still a number when it is multiplied by 0.
        const FAR: f32 = 1e9;
        let part = pixels.start * self.channels..pixels.end * self.channels;
        let (low, scale) = (ends.low as f32, ends.scale as f32);
        let channels = self.channels;
        match self.samples {
            _ if ends.empty => {
                let step = |v: f64| if v >= ends.low { 1.0 } else { 0.0 };
                match self.samples {
                    Samples::U8(v) => pick(v, part, channels, channel, |v| step(f64::from(v))),
                    Samples::U16(v) => pick(v, part, channels, channel, |v| step(f64::from(v))),
                    Samples::U32(v) => pick(v, part, channels, channel, |v| step(f64::from(v))),
                    Samples::F32(v) => pick(v, part, channels, channel, |v| step(f64::from(v))),
                }
            }
            Samples::U8(v) => pick(v, part, channels, channel, |v| (f32::from(v) - low) * scale),
            Samples::U16(v) => pick(v, part, channels, channel, |v| (f32::from(v) - low) * scale),
            Samples::U32(v) => pick(v, part, channels, channel, |v| {
                ((f64::from(v) - ends.low) * ends.scale) as f32
            }),
            Samples::F32(v) => pick(v, part, channels, channel, |v| {
                let number = (v - low) * scale;
                if number.is_nan() {
                    0.0
                } else {
                    number.clamp(-FAR, FAR)
                }
            }),
        }
    }

    /// Tables for all outputs, where samples are few enough to be looked up and many enough to be worth it.
    fn tables(&self, pixels: usize) -> Option<Tables> {
        let curved = |step: &Step| matches!(step, Step::Power(_) | Step::Logarithm | Step::Paint(_));
        let mixes = |step: &Step| matches!(step, Step::Mix(_) | Step::Convolve(_));
        let ramp = match self.samples {
            Samples::U8(_) => Samples::U8((0..=u8::MAX).collect()),
            Samples::U16(_) if self.steps.iter().any(curved) => Samples::U16((0..=u16::MAX).collect()),
            _ => return None,
        };
        let mut ranges: Vec<Ends> = Vec::new();
        for (_, ends) in &self.wanted {
            if !ranges.contains(ends) {
                ranges.push(*ends);
            }
        }
        let room = pixels * self.wanted.len();
        if self.divide || self.steps.iter().any(mixes) || ramp.len() * ranges.len() > room {
            return None;
        }
        let made = |steps: &[Step], ends: Ends| -> Vec<Arc<[u8]>> {
            let flow = Flow {
                steps,
                samples: &ramp,
                channels: 1,
                wanted: vec![(0, ends)],
                alpha: None,
                divide: false,
            };
            let mut tables: Vec<Vec<u8>> = Vec::new();
            for first in (0..ramp.len()).step_by(BLOCK) {
                let planes = flow.planes(first..ramp.len().min(first + BLOCK), Size::new(1, 1));
                tables.resize(planes.len(), Vec::new());
                for (table, plane) in tables.iter_mut().zip(planes) {
                    table.extend(plane.into_iter().map(tone::byte));
                }
            }
            tables.into_iter().map(Arc::from).collect()
        };
        let by_range: Vec<_> = ranges.iter().map(|ends| made(self.steps, *ends)).collect();
        let mut colours: Vec<(usize, Arc<[u8]>)> = Vec::new();
        for (channel, ends) in &self.wanted {
            let place = ranges.iter().position(|known| known == ends);
            let tables = place.and_then(|place| by_range.get(place));
            colours.extend(
                tables
                    .into_iter()
                    .flatten()
                    .map(|table| (*channel, table.clone())),
            );
        }
        let alpha = match self.alpha {
            Some((channel, ends)) => Some((channel, made(&[], ends).into_iter().next()?)),
            None => None,
        };
        Some(Tables { colours, alpha })
    }
}

/// One channel of some pixels as numbers.
fn pick<T: Copy>(
    samples: &[T],
    part: Range<usize>,
    channels: usize,
    channel: usize,
    value: impl Fn(T) -> f32,
) -> Vec<f32> {
    let part = samples.get(part).unwrap_or_default();
    if channels == 1 {
        return part.iter().map(|v| value(*v)).collect();
    }
    let pixels = part.chunks_exact(channels);
    pixels
        .filter_map(|pixel| pixel.get(channel))
        .map(|v| value(*v))
        .collect()
}

fn each(planes: &mut [Vec<f32>], change: impl Fn(&mut [f32])) {
    planes.iter_mut().for_each(|plane| change(plane));
}

/// A row of a matrix times the channels, which go by these numbers.
#[expect(clippy::cast_possible_truncation, reason = "pixels are of single precision")]
fn mixed(row: &Row, names: &[usize], planes: &[Vec<f32>]) -> Vec<f32> {
    let length = planes.first().map_or(0, Vec::len);
    let mut sum = vec![row.constant.value() as f32; length];
    for (name, plane) in names.iter().zip(planes) {
        let weight = row.weights.get(*name).map_or(0.0, |weight| weight.value() as f32);
        if weight != 0.0 {
            for (sum, v) in sum.iter_mut().zip(plane) {
                *sum += weight * v;
            }
        }
    }
    sum
}

/// A byte for every value that a sample can have.
struct Tables {
    /// The channel that is looked up, and where, for every channel of the answer.
    colours: Vec<(usize, Arc<[u8]>)>,
    alpha: Option<(usize, Arc<[u8]>)>,
}

impl Tables {
    fn picture(&self, raster: &Raster) -> Picture {
        let channels = usize::from(raster.channels);
        let mut colours: Vec<_> = self.colours.iter().take(3).collect();
        if colours.len() < 3 {
            colours.truncate(1);
        }
        let layout = layout(colours.len(), self.alpha.is_some());
        if let (Some(alpha), Some(first)) = (&self.alpha, colours.first().copied()) {
            if colours.len() == 1 {
                colours.extend([first, first]);
            }
            colours.push(alpha);
        }
        let data = match &raster.samples {
            Samples::U8(v) => look_up(v, channels, &colours),
            Samples::U16(v) => look_up(v, channels, &colours),
            Samples::U32(_) | Samples::F32(_) => Vec::new(),
        };
        Picture {
            size: raster.size,
            layout,
            data,
        }
    }
}

fn look_up<T: Copy + Into<usize>>(samples: &[T], channels: usize, of: &[&(usize, Arc<[u8]>)]) -> Vec<u8> {
    let byte = |table: &[u8], v: T| table.get(v.into()).copied().unwrap_or(0);
    // every sample alike
    if let Some((_, table)) = of.first()
        && of.len() == channels
        && of
            .iter()
            .enumerate()
            .all(|(place, (channel, other))| place == *channel && Arc::ptr_eq(table, other))
    {
        return samples.iter().map(|v| byte(table, *v)).collect();
    }
    let pixels = samples.chunks_exact(channels);
    let mut out = vec![0; pixels.len() * of.len()];
    for (pixel, out) in pixels.zip(out.chunks_exact_mut(of.len().max(1))) {
        for (out, (channel, table)) in out.iter_mut().zip(of) {
            if let Some(v) = pixel.get(*channel) {
                *out = byte(table, *v);
            }
        }
    }
    out
}
