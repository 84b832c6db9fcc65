//! Converts stored samples to 8-bit pictures by the meaning of their channels; converts to grey and bitonal, and
//! blends alpha over a background.
//!
//! ICC profiles are not applied here: colours are treated as sRGB, and nothing is linearised.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::process::lab;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Layout;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::raster::any_depth;

/// Luma of red, green and blue in 1/65536 (ITU-R BT.709-6 §3.2: 0.2126, 0.7152, 0.0722); they add up to 65536.
const LUMA: [u32; 3] = [13933, 46871, 4732];

/// Converts to 8 bits, and to grey, RGB or RGBA according to `meaning`. Grey with alpha becomes RGBA; channels
/// without a meaning are dropped.
///
/// 16-bit samples keep their high byte, but inks are mixed at full depth. 32-bit and floating-point samples are
/// scaled from their range to 0–255 and rounded to the nearest; values outside are clamped, and NaN becomes 0. L*a*b*
/// becomes sRGB ([`lab`]); cyan, magenta, yellow and black become (1 − ink)(1 − black). `Corrupt` if the raster does
/// not contain the samples it declares, or has fewer channels than `meaning`.
pub fn picture(raster: Raster, meaning: &Meaning) -> Result<Picture> {
    let size = raster.size;
    let channels = usize::from(raster.channels);
    let colours = meaning.colour.channels();
    let alpha = meaning.alpha != Alpha::None;
    let expected = size.area() * channels as u64;
    if expected == 0 || raster.samples.len() as u64 != expected || channels < colours + usize::from(alpha) {
        return Err(Error::Corrupt(format!(
            "{}x{} pixels of {channels} channels, got {} samples for {meaning:?}",
            size.w,
            size.h,
            raster.samples.len()
        )));
    }
    let data = match (meaning.colour, raster.samples) {
        (Colour::Lab, samples) => {
            let data = lab::rgb(&samples, channels, alpha);
            return Ok(nearest(size, data, 3 + usize::from(alpha), 3, alpha));
        }
        (Colour::Cmyk, Samples::U16(data)) => {
            let high = |v: u16| v.to_be_bytes()[0];
            let data = light(&data, channels, deep_light, high);
            return Ok(nearest(size, data, channels - 1, 3, alpha));
        }
        (Colour::Cmyk, samples) => {
            let data = eight(samples, channels, &meaning.ranges);
            let data = light(&data, channels, |ink, black| mix(!ink, 0, !black), |v| v);
            return Ok(nearest(size, data, channels - 1, 3, alpha));
        }
        (_, samples) => eight(samples, channels, &meaning.ranges),
    };
    Ok(nearest(size, data, channels, colours, alpha))
}

/// A raster without the channels that [`picture`] drops.
pub fn visible_channels(raster: Raster, meaning: &Meaning) -> Raster {
    let channels = meaning.colour.channels() + usize::from(meaning.alpha != Alpha::None);
    let (few, all) = match u8::try_from(channels) {
        Ok(few) if few < raster.channels => (few, usize::from(raster.channels)),
        _ => return raster,
    };
    let of = |pixel: usize| pixel * all..pixel * all + channels;
    let pixels = raster.samples.len() / all;
    Raster {
        size: raster.size,
        channels: few,
        samples: any_depth!(&raster.samples, data => {
            (0..pixels).filter_map(|pixel| data.get(of(pixel))).flatten().copied().collect()
        }),
    }
}

/// The layout of a raster whose samples are already those of a picture; `None` if [`picture`] changes them.
pub fn layout(raster: &Raster, meaning: &Meaning) -> Option<Layout> {
    match (&raster.samples, meaning.colour, meaning.alpha, raster.channels) {
        (Samples::U8(_), Colour::Grey, Alpha::None, 1) => Some(Layout::Grey),
        (Samples::U8(_), Colour::Rgb, Alpha::None, 3) => Some(Layout::Rgb),
        (Samples::U8(_), Colour::Rgb, Alpha::Straight | Alpha::Premultiplied, 4) => Some(Layout::Rgba),
        _ => None,
    }
}

/// Converts cyan, magenta, yellow and black to light by `mix`, and the channels after them by `rest`.
fn light<T: Copy>(
    data: &[T],
    channels: usize,
    mix: impl Fn(T, T) -> u8,
    rest: impl Fn(T) -> u8 + Copy,
) -> Vec<u8> {
    let pixels = data.chunks_exact(channels);
    let mut out = Vec::with_capacity(pixels.len() * (channels - 1));
    for pixel in pixels {
        if let Some((&[c, m, y, k], others)) = pixel.split_first_chunk::<4>() {
            out.extend([c, m, y].map(|ink| mix(ink, k)));
            out.extend(others.iter().copied().map(rest));
        }
    }
    out
}

/// Mixes a 16-bit ink with black; the result has 8 bits, rounded to the nearest.
fn deep_light(ink: u16, black: u16) -> u8 {
    let light = u64::from(!ink) * u64::from(!black);
    let full = 65535 * 65535;
    u8::try_from((light * 255 + full / 2) / full).unwrap_or(u8::MAX)
}

/// The layout for `colours` (1 or 3) and alpha, for 8-bit pixels that begin with them.
fn nearest(size: Size, data: Vec<u8>, channels: usize, colours: usize, alpha: bool) -> Picture {
    let first = |data: &[u8]| -> Vec<u8> { data.iter().step_by(channels).copied().collect() };
    let (layout, data) = match (colours, alpha) {
        (1, false) if channels == 1 => (Layout::Grey, data),
        (1, false) => (Layout::Grey, first(&data)),
        (1, true) => {
            let pixels = data
                .chunks_exact(channels)
                .filter_map(|pixel| pixel.first_chunk::<2>());
            let spread = pixels.map(|&[v, alpha]| [v, v, v, alpha]);
            (Layout::Rgba, spread.collect::<Vec<_>>().into_flattened())
        }
        (_, false) if channels == 3 => (Layout::Rgb, data),
        (_, false) => {
            let pixels = data
                .chunks_exact(channels)
                .filter_map(|pixel| pixel.first_chunk::<3>());
            (Layout::Rgb, pixels.copied().collect::<Vec<_>>().into_flattened())
        }
        (_, true) if channels == 4 => (Layout::Rgba, data),
        (_, true) => {
            let pixels = data
                .chunks_exact(channels)
                .filter_map(|pixel| pixel.first_chunk::<4>());
            (Layout::Rgba, pixels.copied().collect::<Vec<_>>().into_flattened())
        }
    };
    Picture { size, layout, data }
}

/// Converts samples of any depth to 8 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of floating point stops at the ends of a byte, NaN becomes 0"
)]
pub fn eight(samples: Samples, channels: usize, ranges: &[(f64, f64)]) -> Vec<u8> {
    let scale = |channel: usize| {
        let (low, high) = ranges.get(channel).copied().unwrap_or((0.0, 255.0));
        (low, high - low)
    };
    let scales: Vec<(f64, f64)> = (0..channels).map(scale).collect();
    let byte = |value: f64, (low, width): (f64, f64)| ((value - low) * 255.0 / width + 0.5) as u8;
    match samples {
        Samples::U8(data) => data,
        Samples::U16(data) => data.into_iter().map(|v| v.to_be_bytes()[0]).collect(),
        Samples::U32(data) => scale_to_bytes(&data, &scales, |v, scale| byte(f64::from(v), scale)),
        Samples::F32(data) => scale_to_bytes(&data, &scales, |v, scale| byte(f64::from(v), scale)),
    }
}

/// One byte per sample, by the scale of its channel.
fn scale_to_bytes<T: Copy>(data: &[T], scales: &[(f64, f64)], byte: impl Fn(T, (f64, f64)) -> u8) -> Vec<u8> {
    match scales {
        [scale, rest @ ..] if rest.iter().all(|other| other == scale) => {
            data.iter().map(|v| byte(*v, *scale)).collect()
        }
        _ => data
            .iter()
            .zip(scales.iter().cycle())
            .map(|(v, scale)| byte(*v, *scale))
            .collect(),
    }
}

/// Colour to grey by BT.709 luma, rounded to the nearest. With alpha the three colours become equal and alpha stays.
pub fn grey(mut picture: Picture) -> Picture {
    match picture.layout {
        Layout::Grey => picture,
        Layout::Rgb => {
            let pixels = picture.data.as_chunks::<3>().0;
            Picture {
                size: picture.size,
                layout: Layout::Grey,
                data: pixels.iter().map(|&rgb| luma(rgb)).collect(),
            }
        }
        Layout::Rgba => {
            for pixel in picture.data.as_chunks_mut::<4>().0 {
                let [r, g, b, alpha] = *pixel;
                let v = luma([r, g, b]);
                *pixel = [v, v, v, alpha];
            }
            picture
        }
    }
}

/// Luma of one pixel.
#[expect(clippy::cast_possible_truncation, reason = "the weights add up to 1")]
pub fn luma(rgb: [u8; 3]) -> u8 {
    let [r, g, b] = rgb.map(u32::from);
    let [wr, wg, wb] = LUMA;
    ((wr * r + wg * g + wb * b + (1 << 15)) >> 16) as u8
}

/// Values above `threshold` become 255, all others 0; alpha is unchanged.
pub fn bitonal(mut picture: Picture, threshold: u8) -> Picture {
    let step = |v: u8| if v > threshold { 255 } else { 0 };
    match picture.layout {
        Layout::Grey | Layout::Rgb => picture.data.iter_mut().for_each(|v| *v = step(*v)),
        Layout::Rgba => {
            for pixel in picture.data.as_chunks_mut::<4>().0 {
                let [r, g, b, alpha] = *pixel;
                *pixel = [step(r), step(g), step(b), alpha];
            }
        }
    }
    picture
}

/// Equalises the histogram: each value becomes the fraction of the histogram's pixels at or below it, scaled to 255
/// and rounded to the nearest. Alpha is unchanged, and so is the whole picture if fewer than two bins are filled.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of pixels, and a ratio of at most 1 is wanted"
)]
pub fn equalise(mut picture: Picture, histogram: &[u64; 256]) -> Picture {
    if histogram.iter().filter(|count| **count > 0).count() < 2 {
        return picture;
    }
    let total: f64 = histogram.iter().map(|&n| n as f64).sum();
    let mut below = 0.0;
    let table = histogram.map(|count| {
        below += count as f64;
        (below / total * 255.0 + 0.5) as u8
    });
    let to = |v: u8| table.get(usize::from(v)).copied().unwrap_or(v);
    match picture.layout {
        Layout::Grey | Layout::Rgb => picture.data.iter_mut().for_each(|v| *v = to(*v)),
        Layout::Rgba => {
            for pixel in picture.data.as_chunks_mut::<4>().0 {
                let [r, g, b, alpha] = *pixel;
                *pixel = [to(r), to(g), to(b), alpha];
            }
        }
    }
    picture
}

/// Otsu's threshold: it maximises the variance between the classes `v <= threshold` and `v > threshold` (N. Otsu,
/// IEEE Trans. SMC 9(1), 1979, eq. 18). Ties give the lowest threshold; fewer than two filled bins give 127, which
/// keeps bright pictures bright and dark ones dark.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of pixels, and a ratio is wanted"
)]
pub fn otsu(histogram: &[u64; 256]) -> u8 {
    let total: f64 = histogram.iter().map(|&n| n as f64).sum();
    let moment: f64 = (0u32..)
        .zip(histogram)
        .map(|(v, &n)| f64::from(v) * n as f64)
        .sum();
    let (mut below, mut moment_below) = (0.0, 0.0);
    let (mut best, mut threshold) = (0.0, 127);
    for (v, &n) in (0u8..=255).zip(histogram) {
        below += n as f64;
        moment_below += f64::from(v) * n as f64;
        let above = total - below;
        if below > 0.0 && above > 0.0 {
            let apart = moment_below / below - (moment - moment_below) / above;
            let variance = below * above * apart * apart;
            if variance > best {
                (best, threshold) = (variance, v);
            }
        }
    }
    threshold
}

/// Blends straight alpha over `background` and drops it, rounded to the nearest. Pictures without alpha are returned
/// unchanged.
pub fn flatten(picture: Picture, background: [u8; 3]) -> Picture {
    if picture.layout != Layout::Rgba {
        return picture;
    }
    let [red, green, blue] = background;
    let pixels = picture.data.as_chunks::<4>().0.iter();
    let mixed =
        pixels.map(|&[r, g, b, alpha]| [mix(r, red, alpha), mix(g, green, alpha), mix(b, blue, alpha)]);
    Picture {
        size: picture.size,
        layout: Layout::Rgb,
        data: mixed.collect::<Vec<_>>().into_flattened(),
    }
}

/// Premultiplies colours by alpha, rounded to the nearest.
pub fn multiply(mut picture: Picture) -> Picture {
    if picture.layout == Layout::Rgba {
        for [r, g, b, alpha] in picture.data.as_chunks_mut::<4>().0 {
            for colour in [r, g, b] {
                *colour = mix(*colour, 0, *alpha);
            }
        }
    }
    picture
}

/// Divides premultiplied colours by alpha, rounded to the nearest. Black where alpha is 0.
pub fn straighten(mut picture: Picture) -> Picture {
    if picture.layout == Layout::Rgba {
        for [r, g, b, alpha] in picture.data.as_chunks_mut::<4>().0 {
            let whole = u32::from(*alpha);
            for colour in [r, g, b] {
                let value = (u32::from(*colour) * 255 + whole / 2)
                    .checked_div(whole)
                    .unwrap_or(0);
                *colour = u8::try_from(value).unwrap_or(255);
            }
        }
    }
    picture
}

/// round((over * alpha + under * (255 - alpha)) / 255).
#[expect(clippy::cast_possible_truncation, reason = "a mean of two bytes is a byte")]
fn mix(over: u8, under: u8, alpha: u8) -> u8 {
    let alpha = u32::from(alpha);
    // Exact division by 255 with rounding for all sums up to 255 * 255.
    let sum = u32::from(over) * alpha + u32::from(under) * (255 - alpha) + 128;
    ((sum + (sum >> 8)) >> 8) as u8
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;

    fn raster(channels: u8, samples: Samples) -> Raster {
        let pixels = samples.len() as u32 / u32::from(channels);
        Raster {
            size: Size::new(pixels, 1),
            channels,
            samples,
        }
    }

    fn rgba(data: Vec<u8>) -> Picture {
        Picture {
            size: Size::new(data.len() as u32 / 4, 1),
            layout: Layout::Rgba,
            data,
        }
    }

    fn picture_of(channels: u8, samples: Samples, colour: Colour, alpha: Alpha) -> (Layout, Vec<u8>) {
        let (raster, meaning) = (raster(channels, samples), Meaning::bytes(colour, alpha));
        let whole = picture(raster.clone(), &meaning).unwrap();
        let shown = visible_channels(raster, &meaning);
        let wanted = colour.channels() + usize::from(alpha != Alpha::None);
        assert_eq!(usize::from(shown.channels), wanted);
        assert_eq!(picture(shown, &meaning).unwrap(), whole);
        (whole.layout, whole.data)
    }

    #[test]
    fn channels_become_the_layout_of_their_meaning() {
        let converted = |channels, data: &[u8], colour, alpha| {
            picture_of(channels, Samples::U8(data.to_vec()), colour, alpha)
        };
        let (none, straight) = (Alpha::None, Alpha::Straight);
        assert_eq!(
            converted(1, &[1, 2], Colour::Grey, none),
            (Layout::Grey, vec![1, 2])
        );
        assert_eq!(
            converted(2, &[1, 2, 3, 4], Colour::Grey, none),
            (Layout::Grey, vec![1, 3])
        );
        assert_eq!(
            converted(2, &[1, 2, 3, 4], Colour::Grey, straight),
            (Layout::Rgba, vec![1, 1, 1, 2, 3, 3, 3, 4])
        );
        assert_eq!(
            converted(3, &[1, 2, 3], Colour::Rgb, none),
            (Layout::Rgb, vec![1, 2, 3])
        );
        assert_eq!(
            converted(4, &[1, 2, 3, 4], Colour::Rgb, none),
            (Layout::Rgb, vec![1, 2, 3])
        );
        assert_eq!(
            converted(4, &[1, 2, 3, 4], Colour::Rgb, straight),
            (Layout::Rgba, vec![1, 2, 3, 4])
        );
        let six: Vec<u8> = (1..=12).collect();
        assert_eq!(
            converted(6, &six, Colour::Rgb, none),
            (Layout::Rgb, vec![1, 2, 3, 7, 8, 9])
        );
        assert_eq!(
            converted(6, &six, Colour::Rgb, straight),
            (Layout::Rgba, vec![1, 2, 3, 4, 7, 8, 9, 10])
        );
    }

    #[test]
    fn inks_take_light_away() {
        let inks = vec![0, 0, 0, 0, 255, 0, 128, 0, 0, 100, 0, 255, 51, 0, 0, 51];
        let (layout, data) = picture_of(4, Samples::U8(inks), Colour::Cmyk, Alpha::None);
        assert_eq!(layout, Layout::Rgb);
        assert_eq!(data, [255, 255, 255, 0, 255, 127, 0, 0, 0, 163, 204, 204]);
        let alpha = picture_of(
            5,
            Samples::U8(vec![0, 255, 0, 0, 9]),
            Colour::Cmyk,
            Alpha::Straight,
        );
        assert_eq!(alpha, (Layout::Rgba, vec![255, 0, 255, 9]));
    }

    #[test]
    fn inks_of_sixteen_bits_are_rounded_after_they_are_mixed() {
        let converted = |inks: Vec<u16>| picture_of(4, Samples::U16(inks), Colour::Cmyk, Alpha::None).1;
        assert_eq!(converted(vec![0, 0xff, 0x1ff, 0]), [255, 254, 253]);
        assert_eq!(converted(vec![0, 0xffff, 0x80ff, 0x80ff]), [127, 0, 63]);
        let bytes = [0, 51, 128, 255, 100, 7, 77, 200];
        let deep = bytes.map(|v| u16::from(v) * 257).to_vec();
        assert_eq!(
            converted(deep),
            picture_of(4, Samples::U8(bytes.to_vec()), Colour::Cmyk, Alpha::None).1
        );
    }

    #[test]
    fn sixteen_bits_keep_their_high_byte() {
        let deep = Samples::U16(vec![0, 255, 256, 0x7fff, 0xffff]);
        let (_, data) = picture_of(1, deep, Colour::Grey, Alpha::None);
        assert_eq!(data, [0, 0, 1, 127, 255]);
    }

    #[test]
    fn deeper_samples_are_scaled_from_their_range() {
        let converted = |samples, ranges: &[(f64, f64)]| {
            let meaning = Meaning {
                colour: Colour::Grey,
                alpha: Alpha::None,
                ranges: ranges.to_vec(),
            };
            picture(raster(1, samples), &meaning).unwrap().data
        };
        let float = Samples::F32(vec![-1.0, 0.0, 0.5, 1.0, 7.0, f32::NAN, f32::INFINITY, f32::MIN]);
        assert_eq!(converted(float, &[(0.0, 1.0)]), [0, 0, 128, 255, 255, 0, 255, 0]);
        let signed = Samples::F32(vec![-200.0, -100.0, 0.0, 100.0]);
        assert_eq!(converted(signed, &[(-100.0, 100.0)]), [0, 0, 128, 255]);
        let deep = Samples::U32(vec![0, 1 << 31, u32::MAX]);
        assert_eq!(converted(deep, &[(0.0, 4_294_967_295.0)]), [0, 128, 255]);
    }

    #[test]
    fn a_raster_with_a_wrong_size_or_channel_count_is_corrupt() {
        let grey = Meaning::bytes(Colour::Grey, Alpha::None);
        let mut short = raster(3, Samples::U8(vec![0; 9]));
        short.size.h = 2;
        assert!(matches!(picture(short, &grey), Err(Error::Corrupt(_))));
        let alpha = Meaning::bytes(Colour::Rgb, Alpha::Straight);
        let few = raster(3, Samples::U8(vec![0; 9]));
        assert!(matches!(picture(few, &alpha), Err(Error::Corrupt(_))));
    }

    #[test]
    fn luma_is_that_of_bt_709() {
        let colours = [
            [255, 0, 0],
            [0, 255, 0],
            [0, 0, 255],
            [255, 255, 255],
            [77, 77, 77],
            [0, 0, 0],
        ];
        assert_eq!(colours.map(luma), [54, 182, 18, 255, 77, 0]);
        let grey = grey(rgba(vec![255, 0, 0, 9]));
        assert_eq!((grey.layout, grey.data), (Layout::Rgba, vec![54, 54, 54, 9]));
    }

    #[test]
    fn a_value_at_the_threshold_is_black() {
        assert_eq!(bitonal(rgba(vec![99, 100, 101, 100]), 100).data, [0, 0, 255, 100]);
    }

    #[test]
    fn otsu_separates_two_clusters_and_takes_the_lowest_of_ties() {
        let mut histogram = [0; 256];
        (histogram[10], histogram[200]) = (70, 30);
        assert_eq!(otsu(&histogram), 10);
        (histogram[20], histogram[190]) = (70, 30);
        assert_eq!(otsu(&histogram), 20);
    }

    #[test]
    fn otsu_of_a_single_value_is_the_middle() {
        assert_eq!(otsu(&[0; 256]), 127);
        for only in [0, 128, 255] {
            let mut histogram = [0; 256];
            histogram[only] = 1000;
            assert_eq!(otsu(&histogram), 127);
        }
    }

    #[test]
    fn alpha_mixes_exactly_as_division_with_rounding() {
        for (over, under) in [(0, 255), (255, 0), (13, 200), (200, 13), (255, 255), (1, 0)] {
            for alpha in 0..=255u8 {
                let exact =
                    f64::from(under) + (f64::from(over) - f64::from(under)) * f64::from(alpha) / 255.0;
                assert!(
                    (f64::from(mix(over, under, alpha)) - exact).abs() <= 0.5,
                    "{over} {under} {alpha}"
                );
            }
        }
    }

    #[test]
    fn flattening_drops_alpha_and_leaves_opaque_layouts_alone() {
        let flat = flatten(rgba(vec![10, 20, 30, 255, 10, 20, 30, 0]), [1, 2, 3]);
        assert_eq!((flat.layout, flat.data), (Layout::Rgb, vec![10, 20, 30, 1, 2, 3]));
        let rgb = grey(flatten(rgba(vec![9, 9, 9, 255]), [0; 3]));
        assert_eq!(flatten(rgb.clone(), [7; 3]), rgb);
    }
}
