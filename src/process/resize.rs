//! Resampling with a separable kernel, and the one-pixel corrections of levels that round otherwise.
//!
//! Which part is resampled to which size is the plan's; nothing is rounded here.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions are clamped to the picture, sums of weighted bytes to bytes"
)]

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::process::colour;
use crate::raster::Layout;
use crate::raster::Picture;

/// Units of a [`Crop`] in a pixel.
const ONE: i64 = 1 << 16;

/// 2^23: a sum of weighted bytes added to it is rounded to the nearest whole number, which stands in the low bits.
const ROUNDING: f32 = 8_388_608.0;

/// A rectangle in 1/65536 of a pixel.
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

/// The kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Linear between pixels; a triangle as wide as the reduction when shrinking.
    Bilinear,
}

/// Resamples `crop` of the picture to `to`.
///
/// Output pixel i has its centre at `crop.x + (i + 1/2) * crop.w / to.w` of the input, whose pixels have theirs at
/// 1/2, 3/2, …. Bilinear looks at pixels outside the crop where the picture has them, so that parts resampled apart
/// fit together; at the picture's own edges the weights that are left are scaled up. Values are rounded to the
/// nearest. Colours are weighted by alpha. A crop that is empty or leaves the picture is `Corrupt`.
pub fn resize(picture: &Picture, crop: Crop, to: Size, filter: Filter) -> Result<Picture> {
    let size = picture.size;
    let (right, bottom) = (i64::from(size.w) * ONE, i64::from(size.h) * ONE);
    if (crop.x, crop.y, crop.w, crop.h) == (0, 0, right, bottom) && to == size {
        return Ok(picture.clone());
    }
    let inside = |start: i64, len: i64, end: i64| start >= 0 && len > 0 && start <= end && len <= end - start;
    let filled = picture.data.len() as u64 == size.area() * picture.layout.channels() as u64;
    if !inside(crop.x, crop.w, right) || !inside(crop.y, crop.h, bottom) || to.area() == 0 || !filled {
        return Err(Error::Corrupt(format!(
            "{}x{} pixels cannot be resampled from {crop:?} to {}x{}",
            size.w, size.h, to.w, to.h
        )));
    }
    let across = taps(pixels(crop.x), crop.width(), to.w, size.w, filter);
    let down = taps(pixels(crop.y), crop.height(), to.h, size.h, filter);
    let data = match picture.layout {
        Layout::Grey => separable::<1, 1>(&picture.data, size, &across, &down),
        Layout::Rgb => separable::<3, 4>(&picture.data, size, &across, &down),
        Layout::Rgba if filter == Filter::Nearest => separable::<4, 4>(&picture.data, size, &across, &down),
        Layout::Rgba => {
            let weighted = colour::multiply(picture.clone());
            let data = separable::<4, 4>(&weighted.data, size, &across, &down);
            return Ok(colour::straighten(Picture {
                size: to,
                layout: Layout::Rgba,
                data,
            }));
        }
    };
    Ok(Picture {
        size: to,
        layout: picture.layout,
        data,
    })
}

/// 1/65536 to pixels, exactly: sides are below 2^32.
#[expect(clippy::cast_precision_loss, reason = "48 bits fit the 53 of a double")]
fn pixels(units: i64) -> f64 {
    units as f64 / ONE as f64
}

/// The input pixels that make one output pixel: the first of them and their weights, which sum to 1.
struct Tap {
    first: usize,
    weights: Vec<f32>,
}

/// The taps of `to` output pixels over `length` input pixels from `start` on, of a side of `side` pixels.
fn taps(start: f64, length: f64, to: u32, side: u32, filter: Filter) -> Vec<Tap> {
    let step = length / f64::from(to);
    // the triangle is as wide as the reduction, never narrower than one pixel
    let reach = step.max(1.0);
    let last = f64::from(side) - 1.0;
    (0..to)
        .map(|i| {
            let centre = start + (f64::from(i) + 0.5) * step;
            if filter == Filter::Nearest {
                return Tap {
                    first: centre.floor().clamp(0.0, last) as usize,
                    weights: vec![1.0],
                };
            }
            // pixel p has its centre at p + 1/2
            let first = (centre - reach - 0.5).ceil().clamp(0.0, last) as u32;
            let past = (centre + reach - 0.5).floor().clamp(0.0, last) as u32;
            let shape = |p: u32| (1.0 - ((f64::from(p) + 0.5 - centre) / reach).abs()).max(0.0);
            let pixels = first..=past.max(first);
            let sum: f64 = pixels.clone().map(shape).sum();
            Tap {
                first: first as usize,
                weights: pixels.map(|p| (shape(p) / sum) as f32).collect(),
            }
        })
        .collect()
}

/// Row by row: first down into one row of sums, then across. `data` is `size.w * size.h * C` bytes.
///
/// `L` is the numbers a pixel in between: three are padded to four, which is what a vector register holds.
fn separable<const C: usize, const L: usize>(
    data: &[u8],
    size: Size,
    across: &[Tap],
    down: &[Tap],
) -> Vec<u8> {
    let stride = size.w as usize * C;
    // only the columns that some output pixel looks at
    let start = across.first().map_or(0, |tap| tap.first);
    let end = across.last().map_or(0, |tap| tap.first + tap.weights.len());
    let mut row = vec![0.0; (end - start) * C];
    let mut padded = vec![[0.0; L]; end - start];
    let mut line = vec![[0.0; L]; across.len()];
    let mut out = vec![[0; C]; across.len() * down.len()];
    for (out, tap) in out.chunks_exact_mut(across.len()).zip(down) {
        let rows = data.get(tap.first * stride + start * C..).unwrap_or_default();
        sum_down(&mut row, rows, stride, &tap.weights);
        for (padded, pixel) in padded.iter_mut().zip(row.as_chunks::<C>().0) {
            if let Some(padded) = padded.first_chunk_mut::<C>() {
                *padded = *pixel;
            }
        }
        for (sums, tap) in line.iter_mut().zip(across) {
            let mut all = [0.0; L];
            let pixels = padded.get(tap.first - start..).unwrap_or_default();
            for (pixel, &weight) in pixels.iter().zip(&tap.weights) {
                for (sum, &value) in all.iter_mut().zip(pixel) {
                    *sum += value * weight;
                }
            }
            *sums = all.map(|sum| sum + ROUNDING);
        }
        for (out, sums) in out.iter_mut().zip(&line) {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = sum.to_bits() as u8;
            }
        }
    }
    out.into_flattened()
}

/// Sums weighted rows, `stride` bytes apart, into `out`, one block of columns after the other so that the sums stay in
/// registers.
fn sum_down(out: &mut [f32], rows: &[u8], stride: usize, weights: &[f32]) {
    const BLOCK: usize = 16;
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let done = blocks.len() * BLOCK;
    for (i, block) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0; BLOCK];
        let columns = rows.get(i * BLOCK..).unwrap_or_default();
        for (row, &weight) in columns.chunks(stride).zip(weights) {
            if let Some(row) = row.first_chunk::<BLOCK>() {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += f32::from(value) * weight;
                }
            }
        }
        *block = sums;
    }
    for (i, out) in rest.iter_mut().enumerate() {
        let column = rows.get(done + i..).unwrap_or_default().iter().step_by(stride);
        *out = column
            .zip(weights)
            .map(|(&value, &weight)| f32::from(value) * weight)
            .sum();
    }
}

/// Cuts off, or repeats, the last columns and rows until the picture has this size.
pub fn fit(picture: &Picture, size: Size) -> Picture {
    let n = picture.layout.channels();
    let (from, to) = (picture.size.w as usize * n, size.w as usize * n);
    let mut data = Vec::with_capacity(to * size.h as usize);
    for row in picture.data.chunks_exact(from.max(1)).take(size.h as usize) {
        let (kept, _) = row.split_at(from.min(to));
        data.extend_from_slice(kept);
        let (_, last) = row.split_at(from.saturating_sub(n));
        (from..to).step_by(n).for_each(|_| data.extend_from_slice(last));
    }
    let last = data.len().saturating_sub(to)..data.len();
    (picture.size.h..size.h).for_each(|_| data.extend_from_within(last.clone()));
    Picture {
        size,
        layout: picture.layout,
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAYOUTS: [Layout; 3] = [Layout::Grey, Layout::Rgb, Layout::Rgba];

    fn whole(size: Size) -> Crop {
        crop(0.0, 0.0, f64::from(size.w), f64::from(size.h))
    }

    fn crop(x: f64, y: f64, w: f64, h: f64) -> Crop {
        let [x, y, w, h] = [x, y, w, h].map(|v| (v * 65536.0).round() as i64);
        Crop { x, y, w, h }
    }

    /// A picture of one value by (x, y); alpha is opaque.
    fn drawn(size: Size, layout: Layout, value: impl Fn(u32, u32) -> u8) -> Picture {
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
    fn nothing_to_do_does_nothing() {
        let picture = drawn(Size::new(5, 4), Layout::Rgb, |x, y| (x * 50 + y) as u8);
        assert_eq!(
            resize(&picture, whole(picture.size), picture.size, Filter::Bilinear).unwrap(),
            picture
        );
    }

    #[test]
    fn whole_pixels_at_their_own_size_are_copied() {
        let picture = drawn(Size::new(9, 9), Layout::Rgb, |x, y| (x * 20 + y) as u8);
        let part = resize(
            &picture,
            crop(2.0, 3.0, 4.0, 5.0),
            Size::new(4, 5),
            Filter::Bilinear,
        )
        .unwrap();
        assert_eq!(
            part,
            drawn(Size::new(4, 5), Layout::Rgb, |x, y| ((x + 2) * 20 + y + 3) as u8)
        );
    }

    #[test]
    fn a_crop_outside_the_picture_is_refused() {
        let picture = drawn(Size::new(5, 4), Layout::Grey, |_, _| 0);
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
    fn halving_weighs_a_triangle() {
        // A single bright column at 8: weights 3/8 for the output pixel over it, 1/8 for its left neighbour.
        let picture = drawn(
            Size::new(16, 1),
            Layout::Grey,
            |x, _| if x == 8 { 240 } else { 0 },
        );
        let half = resize(&picture, whole(picture.size), Size::new(8, 1), Filter::Bilinear).unwrap();
        assert_eq!(half.data, [0, 0, 0, 30, 90, 0, 0, 0]);
    }

    #[test]
    fn doubling_is_linear_between_centres() {
        let picture = drawn(Size::new(2, 1), Layout::Grey, |x, _| (x * 100) as u8);
        let double = resize(&picture, whole(picture.size), Size::new(4, 1), Filter::Bilinear).unwrap();
        assert_eq!(double.data, [0, 25, 75, 100]);
    }

    #[test]
    fn nearest_makes_no_new_values() {
        let picture = drawn(Size::new(4, 1), Layout::Rgba, |x, _| (x * 80) as u8);
        let half = resize(&picture, whole(picture.size), Size::new(8, 1), Filter::Nearest).unwrap();
        assert_eq!(
            half,
            drawn(Size::new(8, 1), Layout::Rgba, |x, _| (x / 2 * 80) as u8)
        );
    }

    #[test]
    fn what_is_transparent_gives_no_colour() {
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
    fn parts_resampled_apart_fit_together() {
        let picture = drawn(Size::new(64, 8), Layout::Rgb, |x, y| (x * x / 16 + y * 9) as u8);
        let all = resize(&picture, whole(picture.size), Size::new(32, 4), Filter::Bilinear).unwrap();
        let right = resize(
            &picture,
            crop(32.0, 0.0, 32.0, 8.0),
            Size::new(16, 4),
            Filter::Bilinear,
        )
        .unwrap();
        for (all, right) in all.data.chunks(32 * 3).zip(right.data.chunks(16 * 3)) {
            assert_eq!(&all[16 * 3..], right);
        }
    }

    #[test]
    fn fitting_cuts_and_repeats_at_the_right_and_at_the_bottom() {
        let picture = drawn(Size::new(3, 2), Layout::Grey, |x, y| (x + 10 * y) as u8);
        assert_eq!(fit(&picture, Size::new(2, 1)).data, [0, 1]);
        assert_eq!(
            fit(&picture, Size::new(4, 3)).data,
            [0, 1, 2, 2, 10, 11, 12, 12, 10, 11, 12, 12]
        );
        assert_eq!(fit(&picture, Size::new(2, 3)).data, [0, 1, 10, 11, 10, 11]);
        let colour = drawn(Size::new(2, 1), Layout::Rgb, |x, _| x as u8);
        assert_eq!(fit(&colour, Size::new(3, 1)).data, [0, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(fit(&picture, picture.size), picture);
    }

    proptest! {
        #[test]
        fn a_constant_stays_constant(
            w in 1u32..70, h in 1u32..70, to_w in 1u32..70, to_h in 1u32..70, value: u8,
            layout in prop::sample::select(LAYOUTS.to_vec()), nearest: bool,
        ) {
            let filter = if nearest { Filter::Nearest } else { Filter::Bilinear };
            let to = Size::new(to_w, to_h);
            let picture = drawn(Size::new(w, h), layout, |_, _| value);
            let resized = resize(&picture, whole(picture.size), to, filter).unwrap();
            prop_assert_eq!(resized, drawn(to, layout, |_, _| value));
        }

        #[test]
        fn a_ramp_stays_a_ramp_away_from_the_edges(
            to_w in 1u32..400, x in 0.0f64..60.0, w in 20.0f64..60.0, layout in prop::sample::select(LAYOUTS.to_vec()),
        ) {
            let picture = drawn(Size::new(120, 3), layout, |x, _| (x * 2) as u8);
            let part = crop(x, 0.0, w, 3.0);
            let resized = resize(&picture, part, Size::new(to_w, 3), Filter::Bilinear).unwrap();
            let scale = w / f64::from(to_w);
            for (i, pixel) in (0..to_w).zip(resized.data.chunks(layout.channels())) {
                let centre = x + (f64::from(i) + 0.5) * scale;
                // The kernel must lie inside the picture.
                if centre > scale.max(1.0) + 0.5 && centre < 119.5 - scale.max(1.0) {
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
            // The border is constant, for the weights at the edges are not those of the inside.
            let inside = |v: u32, len: u32| v >= 2 * factor && v < len - 2 * factor;
            let picture = drawn(size, Layout::Grey, |x, y| {
                if inside(x, size.w) && inside(y, size.h) { noise(x, y) } else { 128 }
            });
            let small = resize(&picture, whole(size), Size::new(32, 24), Filter::Bilinear).unwrap();
            let mean = |p: &Picture| p.data.iter().map(|v| f64::from(*v)).sum::<f64>() / p.data.len() as f64;
            prop_assert!((mean(&small) - mean(&picture)).abs() < 0.5, "{} {}", mean(&small), mean(&picture));
        }
    }
}
