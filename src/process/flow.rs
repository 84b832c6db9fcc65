//! Runs the steps of a chain over blocks of pixels: stored samples to numbers, through the steps, to bytes.
//!
//! A block fits the L1 cache, and its rows are reused from block to block; loops are simple, so that the compiler
//! vectorises them.

use crate::geometry::Rect;
use crate::geometry::Size;
use crate::process::curve::ByteCurve;
use crate::process::step::MatrixRow;
use crate::process::step::Step;
use crate::process::tone;
use crate::raster::Layout;
use crate::raster::Picture;
use crate::raster::Samples;
use std::mem;
use std::ops::Range;

/// Pixels in a block if no step uses neighbours: six channels of them fit the L1 cache.
const BLOCK: usize = 512;

/// Approximate pixels in a band of rows if a step uses neighbours: one channel of them and its neighbourhood fit the
/// L2 cache.
const AROUND: u32 = 1 << 13;

/// The linear map from a sample to a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ends {
    low: f64,
    scale: f64,
    /// Whether both ends are equal.
    empty: bool,
}

impl Ends {
    /// Maps `low` to 0 and `high` to 1.
    pub fn of(low: f64, high: f64) -> Ends {
        Ends {
            low,
            scale: 1.0 / (high - low),
            empty: low == high,
        }
    }

    /// The bit pattern, for comparison.
    pub fn bits(self) -> [u64; 2] {
        [self.low.to_bits(), self.scale.to_bits()]
    }
}

/// The input of the steps.
pub struct Flow<'a> {
    /// The steps.
    pub steps: &'a [Step],
    /// Stored samples, channels interleaved.
    pub samples: &'a Samples,
    /// Samples per pixel.
    pub channels: usize,
    /// The channels that are read, and their ranges.
    pub wanted: Vec<(usize, Ends)>,
    /// The alpha channel, and its range.
    pub alpha: Option<(usize, Ends)>,
    /// Whether colours are premultiplied and must be divided by alpha.
    pub divide: bool,
}

/// Rows of numbers, one per channel, with their buffers.
#[derive(Default)]
struct ChannelRows {
    planes: Vec<Vec<f32>>,
    /// The output buffers of the next step.
    spare: Vec<Vec<f32>>,
    alpha: Vec<f32>,
    /// The output bytes, alpha last.
    bytes: Vec<Vec<u8>>,
}

impl ChannelRows {
    /// Swaps the planes with `count` empty ones of `len` numbers; returns the new and the previous planes.
    fn turn(&mut self, count: usize, len: usize) -> (&mut [Vec<f32>], &[Vec<f32>]) {
        mem::swap(&mut self.planes, &mut self.spare);
        self.planes.resize_with(count, Vec::new);
        self.planes.iter_mut().for_each(|plane| plane.resize(len, 0.0));
        (&mut self.planes, &self.spare)
    }
}

impl Flow<'_> {
    /// Runs the steps over samples of `size` pixels; no step may use neighbours.
    pub fn picture(&self, size: Size) -> Picture {
        let pixels = self.samples.len() / self.channels.max(1);
        let curve = ByteCurve::of(self.steps, pixels);
        let body = self.steps.len() - curve.as_ref().map_or(0, ByteCurve::steps);
        let mut work = ChannelRows::default();
        let mut data = Vec::new();
        let mut channels = 1;
        for first in (0..pixels).step_by(BLOCK) {
            let block = first..pixels.min(first + BLOCK);
            self.numbers(&block, size, body, &mut work);
            self.bytes(curve.as_ref(), &mut work);
            channels = interleave(&work.bytes, self.alpha.is_some(), pixels, &mut data);
        }
        Picture {
            size,
            layout: layout(channels),
            data,
        }
    }

    /// Runs the steps over samples of `size` pixels and returns the part `cut`, if steps use neighbours up to
    /// `margin` pixels away. Works on bands of rows, each with the rows around it.
    pub fn around(&self, size: Size, cut: Rect, margin: u32) -> Picture {
        let mut work = ChannelRows::default();
        let width = size.w as usize;
        let mut data = Vec::new();
        let mut channels = 1;
        let high = (AROUND / size.w.max(1)).max(margin.saturating_mul(16));
        for top in (0..cut.h).step_by(high as usize) {
            let shown = Rect::new(cut.x, cut.y + top, cut.w, high.min(cut.h - top));
            let first = shown.y.saturating_sub(margin);
            let past = (shown.y + shown.h).saturating_add(margin).min(size.h);
            let rows = Size::new(size.w, past - first);
            let pixels = first as usize * width..past as usize * width;
            self.numbers(&pixels, rows, self.steps.len(), &mut work);
            self.bytes(None, &mut work);
            let shown = Rect {
                y: shown.y - first,
                ..shown
            };
            for plane in &mut work.bytes {
                crop(plane, rows, shown);
            }
            let all = cut.w as usize * cut.h as usize;
            channels = interleave(&work.bytes, self.alpha.is_some(), all, &mut data);
        }
        Picture {
            size: cut.size(),
            layout: layout(channels),
            data,
        }
    }

    /// All output bytes of each channel, in the order of the samples.
    pub fn planes(&self) -> Vec<Vec<u8>> {
        let pixels = self.samples.len() / self.channels.max(1);
        let mut work = ChannelRows::default();
        let mut planes: Vec<Vec<u8>> = Vec::new();
        for first in (0..pixels).step_by(BLOCK) {
            let block = first..pixels.min(first + BLOCK);
            self.numbers(&block, Size::new(1, 1), self.steps.len(), &mut work);
            self.bytes(None, &mut work);
            planes.resize(work.bytes.len(), Vec::new());
            for (plane, bytes) in planes.iter_mut().zip(&work.bytes) {
                plane.extend_from_slice(bytes);
            }
        }
        planes
    }

    /// The channels of these pixels after the first `steps` steps. Steps that use neighbours need all pixels.
    fn numbers(&self, pixels: &Range<usize>, size: Size, steps: usize, work: &mut ChannelRows) {
        let len = pixels.len();
        let (planes, _) = work.turn(self.wanted.len(), len);
        for (plane, (channel, ends)) in planes.iter_mut().zip(&self.wanted) {
            self.read(pixels, *channel, *ends, plane);
        }
        if let Some((channel, ends)) = self.alpha {
            work.alpha.resize(len, 0.0);
            self.read(pixels, channel, ends, &mut work.alpha);
        }
        if self.divide {
            for plane in &mut work.planes {
                for (v, alpha) in plane.iter_mut().zip(&work.alpha) {
                    *v = if *alpha > 0.0 { *v / *alpha } else { 0.0 };
                }
            }
        }
        // how a step numbers the channels: as stored, up to the first matrix
        let mut stored = true;
        for step in self.steps.iter().take(steps) {
            match step {
                Step::Mix(rows) => {
                    let (planes, from) = work.turn(rows.len(), len);
                    let name = |place: usize| match self.wanted.get(place) {
                        Some((channel, _)) if stored => *channel,
                        _ => place,
                    };
                    for (row, plane) in rows.iter().zip(planes) {
                        mix(row, name, from, plane);
                    }
                    stored = false;
                }
                Step::Paint(map) => {
                    let (planes, from) = work.turn(3, len);
                    let values = from.first().map_or(&[][..], Vec::as_slice);
                    if let [red, green, blue] = planes {
                        map.paint(values, [red, green, blue]);
                    }
                    stored = false;
                }
                Step::Convolve(kernel) => {
                    for plane in &mut work.planes {
                        *plane = kernel.apply(plane, size);
                    }
                }
                Step::Power(_) | Step::Logarithm | Step::Invert | Step::Scale(_) => {
                    work.planes.iter_mut().for_each(|plane| step.apply(plane));
                }
            }
        }
    }

    /// Reads one channel of these pixels as numbers.
    #[expect(clippy::cast_possible_truncation, reason = "pixels are of single precision")]
    fn read(&self, pixels: &Range<usize>, channel: usize, ends: Ends, out: &mut [f32]) {
        /// Far outside every range, yet finite, so that multiplying it by 0 gives 0.
        const FAR: f32 = 1e9;
        let part = ChannelRange {
            pixels,
            channels: self.channels,
            channel,
        };
        let (low, scale) = (ends.low as f32, ends.scale as f32);
        match self.samples {
            _ if ends.empty => {
                let step = |v: f64| if v >= ends.low { 1.0 } else { 0.0 };
                match self.samples {
                    Samples::U8(v) => part.read(v, out, |v| step(f64::from(v))),
                    Samples::U16(v) => part.read(v, out, |v| step(f64::from(v))),
                    Samples::U32(v) => part.read(v, out, |v| step(f64::from(v))),
                    Samples::F32(v) => part.read(v, out, |v| step(f64::from(v))),
                }
            }
            Samples::U8(v) => part.read_scaled(v, out, low, scale),
            Samples::U16(v) => part.read_scaled(v, out, low, scale),
            Samples::U32(v) => part.read(v, out, |v| ((f64::from(v) - ends.low) * ends.scale) as f32),
            Samples::F32(v) => part.read(v, out, |v| {
                let number = (v - low) * scale;
                let number = if number.is_nan() { 0.0 } else { number };
                number.clamp(-FAR, FAR)
            }),
        }
    }

    /// Converts numbers to bytes, by a curve that replaces the remaining steps, or directly.
    fn bytes(&self, curve: Option<&ByteCurve>, work: &mut ChannelRows) {
        let ChannelRows {
            planes, alpha, bytes, ..
        } = work;
        bytes.resize_with(planes.len() + usize::from(self.alpha.is_some()), Vec::new);
        for (plane, bytes) in planes.iter().zip(bytes.iter_mut()) {
            bytes.resize(plane.len(), 0);
            match curve {
                Some(curve) => curve.bytes(plane, bytes),
                None => tone::bytes(plane, bytes),
            }
        }
        if let Some(bytes) = bytes.get_mut(planes.len()) {
            bytes.resize(alpha.len(), 0);
            tone::bytes(alpha, bytes);
        }
    }
}

/// One channel of a range of pixels.
struct ChannelRange<'a> {
    pixels: &'a Range<usize>,
    channels: usize,
    channel: usize,
}

impl ChannelRange<'_> {
    /// The samples of these pixels.
    fn pixels_of<'s, T>(&self, samples: &'s [T]) -> &'s [T] {
        let ChannelRange { pixels, channels, .. } = *self;
        let part = samples.get(pixels.start * channels..pixels.end * channels);
        part.unwrap_or_default()
    }

    /// Reads the channel as numbers scaled from `low`.
    fn read_scaled<T: Copy + Into<f32>>(&self, samples: &[T], out: &mut [f32], low: f32, scale: f32) {
        let (part, channel) = (self.pixels_of(samples), self.channel);
        match self.channels {
            1 => read_scaled::<T, 1>(part, channel, out, low, scale),
            2 => read_scaled::<T, 2>(part, channel, out, low, scale),
            3 => read_scaled::<T, 3>(part, channel, out, low, scale),
            4 => read_scaled::<T, 4>(part, channel, out, low, scale),
            _ => self.read(samples, out, |v| (v.into() - low) * scale),
        }
    }

    fn read<T: Copy>(&self, samples: &[T], out: &mut [f32], value: impl Fn(T) -> f32) {
        let (part, channels) = (self.pixels_of(samples), self.channels);
        match channels {
            1 => out.iter_mut().zip(part).for_each(|(out, v)| *out = value(*v)),
            2 => self.every::<2, T>(part, out, value),
            3 => self.every::<3, T>(part, out, value),
            4 => self.every::<4, T>(part, out, value),
            5 => self.every::<5, T>(part, out, value),
            6 => self.every::<6, T>(part, out, value),
            7 => self.every::<7, T>(part, out, value),
            8 => self.every::<8, T>(part, out, value),
            _ => {
                let own = part.get(self.channel..).unwrap_or_default();
                for (out, pixel) in out.iter_mut().zip(own.chunks(channels)) {
                    *out = pixel.first().map_or(0.0, |v| value(*v));
                }
            }
        }
    }

    /// Extracts one channel from pixels of `N` samples.
    fn every<const N: usize, T: Copy>(&self, part: &[T], out: &mut [f32], value: impl Fn(T) -> f32) {
        for (out, pixel) in out.iter_mut().zip(part.as_chunks::<N>().0) {
            *out = pixel.get(self.channel).map_or(0.0, |v| value(*v));
        }
    }
}

/// Reads one channel of `N`-sample pixels as numbers scaled from `low`. Closures are avoided, as they would not be
/// inlined.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn read_scaled<T: Copy + Into<f32>, const N: usize>(
    samples: &[T],
    channel: usize,
    out: &mut [f32],
    low: f32,
    scale: f32,
) {
    for (out, pixel) in out.iter_mut().zip(samples.as_chunks::<N>().0) {
        *out = match pixel.get(channel) {
            Some(v) => ((*v).into() - low) * scale,
            None => 0.0,
        };
    }
}

/// One row of a matrix times the channels; `name` maps a column of the matrix to a channel.
#[expect(clippy::cast_possible_truncation, reason = "pixels are of single precision")]
fn mix(row: &MatrixRow, name: impl Fn(usize) -> usize, planes: &[Vec<f32>], out: &mut [f32]) {
    out.fill(row.constant.value() as f32);
    for (place, plane) in planes.iter().enumerate() {
        let weight = row.weights.get(name(place));
        let weight = weight.map_or(0.0, |weight| weight.value() as f32);
        if weight != 0.0 {
            for (sum, v) in out.iter_mut().zip(plane) {
                *sum += weight * v;
            }
        }
    }
}

/// The layout for `channels` channels.
pub const fn layout(channels: usize) -> Layout {
    match channels {
        1 => Layout::Grey,
        3 => Layout::Rgb,
        _ => Layout::Rgba,
    }
}

/// Cuts a channel of `size` pixels to `cut`.
fn crop(plane: &mut Vec<u8>, size: Size, cut: Rect) {
    if cut == Rect::of(size) {
        return;
    }
    let (x, wide) = (cut.x as usize, cut.w as usize);
    let rows = plane
        .chunks_exact(size.w as usize)
        .skip(cut.y as usize)
        .take(cut.h as usize);
    let mut cut = Vec::with_capacity(wide * cut.h as usize);
    rows.for_each(|row| cut.extend_from_slice(row.get(x..x + wide).unwrap_or_default()));
    *plane = cut;
}

/// Appends pixels of one or the first three planes, with the last plane as alpha if `alpha`, to `out`, which will
/// hold `pixels` pixels; grey with alpha becomes RGBA. Returns the number of channels.
fn interleave(planes: &[Vec<u8>], alpha: bool, pixels: usize, out: &mut Vec<u8>) -> usize {
    let (alpha, colours) = match planes.split_last() {
        Some((last, colours)) if alpha => (Some(last), colours),
        _ => (None, planes),
    };
    let grey = planes.first().map_or(&[][..], Vec::as_slice);
    let [red, green, blue] = match colours {
        [red, green, blue, ..] => [red, green, blue].map(Vec::as_slice),
        _ => [grey; 3],
    };
    let channels = if colours.len() < 3 && alpha.is_none() {
        1
    } else {
        3 + usize::from(alpha.is_some())
    };
    if out.is_empty() {
        out.reserve_exact(pixels * channels);
    }
    let from = out.len();
    out.resize(from + grey.len() * channels, 0);
    let out = out.get_mut(from..).unwrap_or_default();
    match (channels, alpha) {
        (1, _) => out.copy_from_slice(grey),
        (_, None) => rgb(red, green, blue, out),
        (_, Some(alpha)) => rgba(red, green, blue, alpha, out),
    }
    channels
}

/// Interleaves three channels.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn rgb(red: &[u8], green: &[u8], blue: &[u8], out: &mut [u8]) {
    let colours = red.iter().zip(green).zip(blue);
    for (out, ((r, g), b)) in out.as_chunks_mut().0.iter_mut().zip(colours) {
        *out = [*r, *g, *b];
    }
}

/// Interleaves four channels.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn rgba(red: &[u8], green: &[u8], blue: &[u8], alpha: &[u8], out: &mut [u8]) {
    let samples = red.iter().zip(green).zip(blue.iter().zip(alpha));
    for (out, ((r, g), (b, a))) in out.as_chunks_mut().0.iter_mut().zip(samples) {
        *out = [*r, *g, *b, *a];
    }
}
