//! Resampling with a separable kernel, and one-pixel corrections for levels that are rounded differently.
//!
//! The plan decides which part becomes which size.

#![expect(
    clippy::cast_possible_truncation,
    reason = "sides fit, sums of weighted bytes to bytes"
)]

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::process::RowBand;
use crate::process::kernel::Tap;
use crate::process::kernel::taps;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::raster::Strip;
use crate::raster::any_depth;
use crate::raster::lines;
use crate::raster::lines_of;
use crate::work::parallel::each;
use std::ops::Range;

pub use crate::process::kernel::Filter;

/// Units of a [`Crop`] per pixel.
const ONE: i64 = 1 << 16;

/// 2^23: adding this to a weighted sum of bytes rounds it to the nearest integer, in the low bits.
const ROUNDING: f32 = 8_388_608.0;

/// Rows that a thread processes at a time.
const BAND: usize = 32;

/// Numbers per vector: a multiple of the channels of any pixel.
const LANES: usize = 8;

/// Samples that justify another thread: one or two milliseconds of work.
const WORTH: usize = 512 << 10;

/// A rectangle in units of 1/65536 pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Crop {
    /// Left.
    pub x: i64,
    /// Top.
    pub y: i64,
    /// Width, > 0.
    pub w: i64,
    /// Height, > 0.
    pub h: i64,
}

impl Crop {
    /// Width in pixels.
    pub fn width(self) -> f64 {
        pixels(self.w)
    }

    /// Height in pixels.
    pub fn height(self) -> f64 {
        pixels(self.h)
    }
}

/// A sample that can be weighted. Integers are rounded to the nearest and clamped to their range.
pub trait Resample: Copy + Default + Send + Sync {
    /// The largest value of an integer; 1 for floating point.
    const FULL: f32;
    /// The sample as a number.
    fn number(self) -> f32;
    /// Prepares a sum for [`Resample::of_sum`].
    #[inline(always)]
    fn clamp_sum(sum: f32) -> f32 {
        sum.clamp(0.0, Self::FULL) + ROUNDING
    }
    /// The sample for a prepared sum.
    fn of_sum(sum: f32) -> Self;
}

impl Resample for u8 {
    const FULL: f32 = 255.0;

    #[inline(always)]
    fn number(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn of_sum(sum: f32) -> u8 {
        sum.to_bits() as u8
    }
}

impl Resample for u16 {
    const FULL: f32 = 65535.0;

    #[inline(always)]
    fn number(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn of_sum(sum: f32) -> u16 {
        sum.to_bits() as u16
    }
}

impl Resample for f32 {
    const FULL: f32 = 1.0;

    #[inline(always)]
    fn number(self) -> f32 {
        self
    }

    #[inline(always)]
    fn clamp_sum(sum: f32) -> f32 {
        sum
    }

    #[inline(always)]
    fn of_sum(sum: f32) -> f32 {
        sum
    }
}

/// Rows of samples from the top, channels interleaved; they may be in several buffers.
struct SampleRows<'a, S> {
    /// `width * channels` samples each.
    lines: Vec<&'a [S]>,
    /// Pixels per row.
    width: u32,
    /// Samples per pixel, 1–4.
    channels: usize,
    /// Whether the last channel is straight alpha, by which the others are weighted.
    alpha: bool,
}

/// Resamples `crop` to `to`, or only the rows that `part` asks for. With `alpha`, the last channel is straight alpha.
/// Unsigned samples of 32 bits are not supported.
pub fn resize(
    strips: &[Strip],
    alpha: bool,
    part: Option<&RowBand>,
    (crop, to, filter): (Crop, Size, Filter),
) -> Result<Raster> {
    let missing = || Error::Internal("no samples that can be resampled".into());
    let (model, _) = strips.first().ok_or_else(missing)?;
    let (width, channels) = (model.size.w, usize::from(model.channels));
    let high = strips.iter().map(|(_, rows)| rows.end - rows.start).sum();
    let all = RowBand {
        whole: Size::new(width, high),
        first: 0,
        wanted: 0..to.h,
    };
    let part = part.unwrap_or(&all);
    macro_rules! resized {
        ($depth:ident) => {{
            let rows = SampleRows {
                lines: lines_of!($depth, strips)?,
                width,
                channels,
                alpha,
            };
            Samples::$depth(resample(&rows, part, crop, to, filter)?)
        }};
    }
    let samples = match &model.samples {
        Samples::U8(_) => resized!(U8),
        Samples::U16(_) => resized!(U16),
        Samples::F32(_) => resized!(F32),
        Samples::U32(_) => return Err(missing()),
    };
    Ok(Raster {
        size: Size::new(to.w, part.high(to.h)),
        channels: model.channels,
        samples,
    })
}

/// The input rows, of `side`, that these rows of `to` depend on; `None` if there are none.
pub fn rows(crop: Crop, to: u32, side: u32, filter: Filter, wanted: Range<u32>) -> Option<Range<u32>> {
    let wanted = wanted.start..wanted.end.min(to);
    let down = taps(pixels(crop.y), crop.height(), to, side, filter, wanted);
    let first = down.iter().map(|tap| tap.first).min()?;
    let past = down.iter().map(|tap| tap.first + tap.weights.len()).max()?;
    Some(u32::try_from(first).ok()?..u32::try_from(past).ok()?)
}

/// Resamples `crop` to the wanted rows of `to`; `rows` are the input rows from `part.first` on.
///
/// The centre of output pixel i is at `crop.x + (i + 1/2) * crop.w / to.w` of the input, where pixel centres are at
/// 1/2, 3/2, …. Filters read pixels outside the crop where they exist, so that separately resampled parts fit
/// together; at the picture's own edges the remaining weights are normalised. Colours are weighted by straight alpha
/// (black where it is 0); NaN spreads over the radius of the kernel. `Corrupt` if the crop is empty or leaves the
/// picture, a row is missing, or the number of channels is not 1–4.
fn resample<S: Resample>(
    rows: &SampleRows<S>,
    part: &RowBand,
    crop: Crop,
    to: Size,
    filter: Filter,
) -> Result<Vec<S>> {
    let SampleRows {
        lines,
        width,
        channels,
        alpha,
    } = rows;
    let (width, channels) = (*width, *channels);
    let (right, bottom) = (i64::from(part.whole.w) * ONE, i64::from(part.whole.h) * ONE);
    let wrong = || {
        Error::Corrupt(format!(
            "{}x{} pixels of {channels} channels cannot be resampled from {crop:?} to {}x{}",
            width,
            lines.len(),
            to.w,
            to.h
        ))
    };
    let inside = |start: i64, len: i64, end: i64| start >= 0 && len > 0 && start <= end && len <= end - start;
    let row = width as usize * channels;
    let filled = lines.iter().all(|line| line.len() == row) && width == part.whole.w;
    if !inside(crop.x, crop.w, right) || !inside(crop.y, crop.h, bottom) || to.area() == 0 || !filled {
        return Err(wrong());
    }
    let across = &taps(pixels(crop.x), crop.width(), to.w, width, filter, 0..to.w);
    let wanted = part.wanted.start..part.wanted.end.min(to.h);
    let mut down = taps(pixels(crop.y), crop.height(), to.h, part.whole.h, filter, wanted);
    for tap in &mut down {
        tap.first = tap.first.checked_sub(part.first as usize).ok_or_else(wrong)?;
        if tap.first + tap.weights.len() > lines.len() {
            return Err(wrong());
        }
    }
    let down = &down;
    let weighted = *alpha && filter != Filter::Nearest;
    match (channels, weighted) {
        (1, _) => separable::<S, 1, 1, false>(lines, across, down),
        (2, false) => separable::<S, 2, 2, false>(lines, across, down),
        (2, true) => separable::<S, 2, 2, true>(lines, across, down),
        (3, _) => separable::<S, 3, 4, false>(lines, across, down),
        (4, false) => separable::<S, 4, 4, false>(lines, across, down),
        (4, true) => separable::<S, 4, 4, true>(lines, across, down),
        _ => Err(wrong()),
    }
}

/// 1/65536 units to pixels. Exact, since sides are below 2^32.
#[expect(clippy::cast_precision_loss, reason = "48 bits fit the 53 of a double")]
fn pixels(units: i64) -> f64 {
    units as f64 / ONE as f64
}

/// Applies both lists of taps, on as many threads as the samples justify. Every line has `C` samples per pixel.
///
/// `L` is the intermediate numbers per pixel: three are padded to four. With `ALPHA`, the last channel weights the
/// others.
fn separable<S: Resample, const C: usize, const L: usize, const ALPHA: bool>(
    lines: &[&[S]],
    across: &[Tap],
    down: &[Tap],
) -> Result<Vec<S>> {
    let mut out = vec![[S::default(); C]; across.len() * down.len()];
    let others = out.len() * C / WORTH;
    let bands = out
        .chunks_mut((across.len() * BAND).max(1))
        .zip(down.chunks(BAND));
    each(others, bands, |(out, down)| {
        band::<S, C, L, ALPHA>(lines, across, down, out);
        Ok(())
    })?;
    Ok(out.into_flattened())
}

/// Resamples a band of rows: first vertically into rows of sums, then horizontally. A vector holds the same pixel of
/// `LANES / L` rows.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn band<S: Resample, const C: usize, const L: usize, const ALPHA: bool>(
    lines: &[&[S]],
    across: &[Tap],
    down: &[Tap],
    out: &mut [[S; C]],
) {
    // only the columns that some output pixel depends on
    let start = across.iter().map(|tap| tap.first).min().unwrap_or(0);
    let past = across.iter().map(|tap| tap.first + tap.weights.len());
    let end = past.max().unwrap_or(0);
    let mut weighted = Vec::new();
    let mut row = vec![0.0; (end - start) * C];
    let mut columns = vec![[0.0; LANES]; end - start];
    let mut line = vec![[S::default(); LANES]; across.len()];
    let rows = LANES / L;
    for (out, taps) in out.chunks_mut(across.len() * rows).zip(down.chunks(rows)) {
        for (tap, lane) in taps.iter().zip((0..).step_by(L)) {
            weighted.clear();
            let lines = lines.get(tap.first..).unwrap_or_default();
            for (line, weight) in lines.iter().zip(&tap.weights) {
                weighted.push((line.get(start * C..).unwrap_or_default(), *weight));
            }
            if ALPHA {
                sum_down_by_alpha::<S, C>(&mut row, &weighted);
            } else {
                sum_down(&mut row, &weighted);
            }
            for (column, pixel) in columns.iter_mut().zip(row.as_chunks::<C>().0) {
                if let Some(to) = column.get_mut(lane..).and_then(<[f32]>::first_chunk_mut) {
                    *to = *pixel;
                }
            }
        }
        for (to, tap) in line.iter_mut().zip(across) {
            let mut sums = [0.0; LANES];
            let columns = columns.get(tap.first - start..).unwrap_or_default();
            for (column, &weight) in columns.iter().zip(&tap.weights) {
                for (sum, &value) in sums.iter_mut().zip(column) {
                    *sum += value * weight;
                }
            }
            if ALPHA {
                sums.as_chunks_mut::<L>()
                    .0
                    .iter_mut()
                    .for_each(|pixel| straighten(pixel));
            }
            *to = sums.map(S::clamp_sum).map(S::of_sum);
        }
        for (out, lane) in out.chunks_exact_mut(across.len()).zip((0..).step_by(L)) {
            for (out, pixels) in out.iter_mut().zip(&line) {
                if let Some(pixel) = pixels.get(lane..).and_then(<[S]>::first_chunk) {
                    *out = *pixel;
                }
            }
        }
    }
}

/// Divides alpha-weighted sums by the sum of alpha; 0 if that is not positive.
#[inline(always)]
fn straighten(sums: &mut [f32]) {
    if let Some((whole, colours)) = sums.split_last_mut() {
        let share = if *whole > 0.0 { whole.recip() } else { 0.0 };
        colours.iter_mut().for_each(|sum| *sum *= share);
    }
}

/// Adds weighted rows into `out`, one block of columns after the other, so that the sums stay in registers. No
/// closures: those of [`band`] are compiled for its instruction set and would not be inlined into iterators, which
/// are not.
#[inline(always)]
fn sum_down<S: Resample>(out: &mut [f32], rows: &[(&[S], f32)]) {
    const BLOCK: usize = 32;
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let done = blocks.len() * BLOCK;
    for (i, block) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0; BLOCK];
        for (row, weight) in rows {
            if let Some(row) = row.get(i * BLOCK..).and_then(<[S]>::first_chunk::<BLOCK>) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += value.number() * weight;
                }
            }
        }
        *block = sums;
    }
    rest.fill(0.0);
    for (row, weight) in rows {
        for (sum, &value) in rest.iter_mut().zip(row.get(done..).unwrap_or_default()) {
            *sum += value.number() * weight;
        }
    }
}

/// Adds weighted rows; every pixel is weighted by its alpha, the last channel.
#[inline(always)]
fn sum_down_by_alpha<S: Resample, const C: usize>(out: &mut [f32], rows: &[(&[S], f32)]) {
    out.fill(0.0);
    for (row, weight) in rows {
        for (sums, pixel) in out.as_chunks_mut::<C>().0.iter_mut().zip(row.as_chunks::<C>().0) {
            let numbers = pixel.map(S::number);
            let share = weight * numbers.last().copied().unwrap_or_default();
            let colours = numbers.iter().take(C - 1).map(|number| number * share);
            for (sum, part) in sums.iter_mut().zip(colours.chain([share])) {
                *sum += part;
            }
        }
    }
}

/// Crops or replicates the last columns and rows to this size.
pub fn fit(raster: &Raster, size: Size) -> Raster {
    let channels = usize::from(raster.channels);
    Raster {
        size,
        channels: raster.channels,
        samples: any_depth!(&raster.samples, samples => crop_or_replicate(samples, raster.size, size, channels)),
    }
}

/// Crops or replicates samples of `n` channels.
fn crop_or_replicate<S: Copy>(samples: &[S], old: Size, new: Size, n: usize) -> Vec<S> {
    let (from, to) = (old.w as usize * n, new.w as usize * n);
    let mut out = Vec::with_capacity(to * new.h as usize);
    for row in samples.chunks_exact(from.max(1)).take(new.h as usize) {
        let (kept, _) = row.split_at(from.min(to));
        out.extend_from_slice(kept);
        let (_, last) = row.split_at(from.saturating_sub(n));
        (from..to).step_by(n).for_each(|_| out.extend_from_slice(last));
    }
    let last = out.len().saturating_sub(to)..out.len();
    (old.h..new.h).for_each(|_| out.extend_from_within(last.clone()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Layout;
    use crate::raster::Picture;
    use crate::raster::strip;
    use proptest::prelude::*;

    const LAYOUTS: [Layout; 3] = [Layout::Grey, Layout::Rgb, Layout::Rgba];

    fn whole(size: Size) -> Crop {
        crop(0.0, 0.0, f64::from(size.w), f64::from(size.h))
    }

    fn crop(x: f64, y: f64, w: f64, h: f64) -> Crop {
        let [x, y, w, h] = [x, y, w, h].map(|v| (v * 65536.0).round() as i64);
        Crop { x, y, w, h }
    }

    fn raster_of(picture: &Picture) -> Raster {
        Raster {
            size: picture.size,
            channels: picture.layout.channels() as u8,
            samples: Samples::U8(picture.data.clone()),
        }
    }

    fn picture_of(raster: Raster, layout: Layout) -> Picture {
        let Samples::U8(data) = raster.samples else {
            panic!("8 bits")
        };
        Picture {
            size: raster.size,
            layout,
            data,
        }
    }

    fn resize(picture: &Picture, crop: Crop, to: Size, filter: Filter) -> Result<Picture> {
        let (strips, alpha) = ([strip(raster_of(picture))], picture.layout == Layout::Rgba);
        let resized = super::resize(&strips, alpha, None, (crop, to, filter))?;
        Ok(picture_of(resized, picture.layout))
    }

    fn fit(picture: &Picture, size: Size) -> Picture {
        picture_of(super::fit(&raster_of(picture), size), picture.layout)
    }

    /// A picture with the value `value(x, y)`; alpha is opaque.
    fn draw(size: Size, layout: Layout, value: impl Fn(u32, u32) -> u8) -> Picture {
        let mut data = Vec::new();
        for y in 0..size.h {
            for x in 0..size.w {
                let v = value(x, y);
                data.extend_from_slice(
                    &[v, v, v, 255][if layout == Layout::Rgba {
                        0..4
                    } else {
                        0..layout.channels()
                    }],
                );
            }
        }
        Picture { size, layout, data }
    }

    #[test]
    fn an_identity_resize_is_a_copy() {
        let picture = draw(Size::new(5, 4), Layout::Rgb, |x, y| (x * 50 + y) as u8);
        assert_eq!(
            resize(&picture, whole(picture.size), picture.size, Filter::Bilinear).unwrap(),
            picture
        );
    }

    #[test]
    fn whole_pixels_at_scale_one_are_copied() {
        let picture = draw(Size::new(9, 9), Layout::Rgb, |x, y| (x * 20 + y) as u8);
        let part = resize(
            &picture,
            crop(2.0, 3.0, 4.0, 5.0),
            Size::new(4, 5),
            Filter::Bilinear,
        )
        .unwrap();
        assert_eq!(
            part,
            draw(Size::new(4, 5), Layout::Rgb, |x, y| ((x + 2) * 20 + y + 3) as u8)
        );
    }

    #[test]
    fn a_crop_outside_the_picture_is_refused() {
        let picture = draw(Size::new(5, 4), Layout::Grey, |_, _| 0);
        for bad in [
            crop(-1.0, 0.0, 3.0, 3.0),
            crop(3.0, 0.0, 2.5, 1.0),
            crop(0.0, 0.0, 5.0, 4.1),
            crop(0.0, 0.0, 0.0, 1.0),
            Crop {
                x: i64::MAX,
                y: 0,
                w: i64::MAX,
                h: 1,
            },
        ] {
            assert!(
                resize(&picture, bad, Size::new(2, 2), Filter::Bilinear).is_err(),
                "{bad:?}"
            );
        }
        assert!(resize(&picture, whole(picture.size), Size::new(0, 2), Filter::Nearest).is_err());
    }

    #[test]
    fn halving_uses_a_triangle() {
        // A single bright column at 8: weights 3/8 for the output pixel over it, 1/8 for its left neighbour.
        let picture = draw(
            Size::new(16, 1),
            Layout::Grey,
            |x, _| if x == 8 { 240 } else { 0 },
        );
        let half = resize(&picture, whole(picture.size), Size::new(8, 1), Filter::Bilinear).unwrap();
        assert_eq!(half.data, [0, 0, 0, 30, 90, 0, 0, 0]);
    }

    #[test]
    fn doubling_is_linear_between_centres() {
        let picture = draw(Size::new(2, 1), Layout::Grey, |x, _| (x * 100) as u8);
        let double = resize(&picture, whole(picture.size), Size::new(4, 1), Filter::Bilinear).unwrap();
        assert_eq!(double.data, [0, 25, 75, 100]);
    }

    #[test]
    fn nearest_creates_no_new_values() {
        let picture = draw(Size::new(4, 1), Layout::Rgba, |x, _| (x * 80) as u8);
        let half = resize(&picture, whole(picture.size), Size::new(8, 1), Filter::Nearest).unwrap();
        assert_eq!(
            half,
            draw(Size::new(8, 1), Layout::Rgba, |x, _| (x / 2 * 80) as u8)
        );
    }

    #[test]
    fn transparent_pixels_contribute_no_colour() {
        let picture = Picture {
            size: Size::new(2, 1),
            layout: Layout::Rgba,
            data: vec![200, 100, 50, 255, 0, 255, 0, 0],
        };
        let one = resize(&picture, whole(picture.size), Size::new(1, 1), Filter::Bilinear).unwrap();
        assert!(
            one.data
                .iter()
                .zip([200u8, 100, 50, 128])
                .all(|(a, b)| a.abs_diff(b) <= 1),
            "{one:?}"
        );
    }

    #[test]
    fn a_faint_pixel_keeps_its_colour() {
        // intermediate premultiplied colours are not rounded
        let picture = Picture {
            size: Size::new(4, 1),
            layout: Layout::Rgba,
            data: [200, 100, 50, 1].repeat(4),
        };
        for filter in (1..5).map(Filter::numbered) {
            let half = resize(&picture, whole(picture.size), Size::new(2, 1), filter).unwrap();
            assert_eq!(half.data, [200, 100, 50, 1].repeat(2), "{filter:?}");
        }
    }

    #[test]
    fn overshoot_is_clamped() {
        let edge = draw(
            Size::new(20, 1),
            Layout::Grey,
            |x, _| if x < 10 { 0 } else { 255 },
        );
        for filter in [Filter::Bicubic, Filter::Lanczos] {
            let wide = resize(&edge, whole(edge.size), Size::new(60, 1), filter).unwrap();
            assert_eq!((wide.data[27], wide.data[32]), (0, 255), "{filter:?}: {wide:?}");
            assert!(wide.data[..29].iter().all(|v| *v < 20), "{filter:?}: {wide:?}");
            assert!(wide.data[31..].iter().all(|v| *v > 235), "{filter:?}: {wide:?}");
        }
    }

    #[test]
    fn deeper_samples_are_resampled_alike() {
        let size = Size::new(31, 17);
        let picture = draw(size, Layout::Rgba, |x, y| (x * 8 + y) as u8);
        let to = Size::new(11, 7);
        for filter in (0..5).map(Filter::numbered) {
            for (channels, alpha) in [
                (1, false),
                (2, false),
                (2, true),
                (3, false),
                (4, false),
                (4, true),
            ] {
                let len = size.area() as usize * channels;
                let bytes = &picture.data[..len];
                let of = crop(1.5, 2.0, 28.0, 13.0);
                let resized = |samples| {
                    let channels = channels as u8;
                    let strips = [strip(Raster {
                        size,
                        channels,
                        samples,
                    })];
                    super::resize(&strips, alpha, None, (of, to, filter))
                        .unwrap()
                        .samples
                };
                let deep = bytes.iter().map(|&v| u16::from(v) * 257).collect();
                let real = bytes.iter().map(|&v| f32::from(v) - 128.0).collect();
                let (Samples::U8(small), Samples::U16(deep), Samples::F32(real)) = (
                    resized(Samples::U8(bytes.to_vec())),
                    resized(Samples::U16(deep)),
                    resized(Samples::F32(real)),
                ) else {
                    panic!("the depth changed")
                };
                assert_eq!(small.len(), 77 * channels);
                for (small, deep) in small.iter().zip(&deep) {
                    assert!(
                        (f32::from(*small) - f32::from(*deep) / 257.0).abs() < 0.51,
                        "{filter:?}"
                    );
                }
                for (small, real) in small.iter().zip(&real).filter(|_| !alpha) {
                    let cut = (real + 128.0).clamp(0.0, 255.0);
                    assert!((f32::from(*small) - cut).abs() < 0.51, "{filter:?}");
                }
            }
        }
        for (size, channels, samples) in [
            (size, 5, Samples::U8(vec![0; size.area() as usize * 5])),
            (size, 4, Samples::U8(vec![0; 17])),
            (size, 1, Samples::U32(vec![0; size.area() as usize])),
        ] {
            let strips = [strip(Raster {
                size,
                channels,
                samples,
            })];
            assert!(super::resize(&strips, false, None, (whole(size), to, Filter::Area)).is_err());
        }
    }

    #[test]
    fn separately_resampled_parts_fit_together() {
        let picture = draw(Size::new(64, 8), Layout::Rgb, |x, y| (x * x / 16 + y * 9) as u8);
        for filter in (0..5).map(Filter::numbered) {
            let all = resize(&picture, whole(picture.size), Size::new(32, 4), filter).unwrap();
            let part = crop(32.0, 0.0, 32.0, 8.0);
            let right = resize(&picture, part, Size::new(16, 4), filter).unwrap();
            for (all, right) in all.data.chunks(32 * 3).zip(right.data.chunks(16 * 3)) {
                assert_eq!(&all[16 * 3..], right, "{filter:?}");
            }
        }
    }

    #[test]
    fn fitting_crops_and_replicates_at_the_right_and_at_the_bottom() {
        let picture = draw(Size::new(3, 2), Layout::Grey, |x, y| (x + 10 * y) as u8);
        assert_eq!(fit(&picture, Size::new(2, 1)).data, [0, 1]);
        assert_eq!(
            fit(&picture, Size::new(4, 3)).data,
            [0, 1, 2, 2, 10, 11, 12, 12, 10, 11, 12, 12]
        );
        assert_eq!(fit(&picture, Size::new(2, 3)).data, [0, 1, 10, 11, 10, 11]);
        let colour = draw(Size::new(2, 1), Layout::Rgb, |x, _| x as u8);
        assert_eq!(fit(&colour, Size::new(3, 1)).data, [0, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(fit(&picture, picture.size), picture);
    }

    proptest! {
        #[test]
        fn a_constant_stays_constant(
            w in 1u32..70, h in 1u32..70, to_w in 1u32..70, to_h in 1u32..70, value: u8,
            layout in prop::sample::select(LAYOUTS.to_vec()), filter in 0u8..5,
        ) {
            let filter = Filter::numbered(filter);
            let to = Size::new(to_w, to_h);
            let picture = draw(Size::new(w, h), layout, |_, _| value);
            let resized = resize(&picture, whole(picture.size), to, filter).unwrap();
            prop_assert_eq!(resized, draw(to, layout, |_, _| value));
        }

        #[test]
        fn a_ramp_stays_a_ramp_away_from_the_edges(
            to_w in 1u32..400, x in 0.0f64..60.0, w in 20.0f64..60.0, layout in prop::sample::select(LAYOUTS.to_vec()),
            filter in prop::sample::select(vec![Filter::Bilinear, Filter::Bicubic]),
        ) {
            let picture = draw(Size::new(120, 3), layout, |x, _| (x * 2) as u8);
            let part = crop(x, 0.0, w, 3.0);
            let resized = resize(&picture, part, Size::new(to_w, 3), filter).unwrap();
            let scale = w / f64::from(to_w);
            for (i, pixel) in (0..to_w).zip(resized.data.chunks(layout.channels())) {
                let centre = x + (f64::from(i) + 0.5) * scale;
                // The kernel must lie inside the picture.
                let reach = scale.max(1.0) * 2.0;
                if centre > reach + 0.5 && centre < 119.5 - reach {
                    let exact = (centre - 0.5) * 2.0;
                    prop_assert!((f64::from(pixel[0]) - exact).abs() <= 1.0, "{} at {}: {}", pixel[0], i, exact);
                }
            }
        }

        #[test]
        fn the_mean_is_kept_when_shrinking(seed: u32, factor in 1u32..9) {
            let size = Size::new(32 * factor, 24 * factor);
            let noise = |x: u32, y: u32| {
                let v = (x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca6b) ^ seed).wrapping_mul(0xc2b2_ae35);
                ((v ^ (v >> 15)).wrapping_mul(0x27d4_eb2f) >> 24) as u8
            };
            // The border is constant, since the weights at the edges differ from those inside.
            let inside = |v: u32, len: u32| v >= 2 * factor && v < len - 2 * factor;
            let picture = draw(size, Layout::Grey, |x, y| {
                if inside(x, size.w) && inside(y, size.h) { noise(x, y) } else { 128 }
            });
            let small = resize(&picture, whole(size), Size::new(32, 24), Filter::Bilinear).unwrap();
            let mean = |p: &Picture| p.data.iter().map(|v| f64::from(*v)).sum::<f64>() / p.data.len() as f64;
            prop_assert!((mean(&small) - mean(&picture)).abs() < 0.5, "{} {}", mean(&small), mean(&picture));
        }
    }
}
