//! What channels mean: stored samples to 8-bit pictures, grey, black and white, and alpha laid over a colour.
//!
//! Knows no ICC profile: colours are taken as sRGB-like, and nothing is linearised.

use crate::error::Error;
use crate::error::Result;
use crate::raster::Layout;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Samples;

/// Luma of red, green and blue in 1/65536 (ITU-R BT.709-6 §3.2: 0.2126, 0.7152, 0.0722); they add up to 65536.
const LUMA: [u32; 3] = [13933, 46871, 4732];

/// To 8 bits and the nearest layout: one channel is grey, two are grey and alpha (as `Rgba`), three are colour, four are
/// colour and alpha, of more the first three are colour.
///
/// 16 bits keep their high byte. Deeper samples are `Unsupported`; a raster that has not the samples it says is `Corrupt`.
pub fn picture(raster: Raster) -> Result<Picture> {
    let channels = usize::from(raster.channels);
    let expected = raster.size.area() * channels as u64;
    if expected == 0 || raster.samples.len() as u64 != expected {
        return Err(Error::Corrupt(format!(
            "{}x{} pixels of {channels} channels, got {} samples",
            raster.size.w,
            raster.size.h,
            raster.samples.len()
        )));
    }
    let data = match raster.samples {
        Samples::U8(data) => data,
        Samples::U16(data) => data.into_iter().map(|v| v.to_be_bytes()[0]).collect(),
        Samples::U32(_) | Samples::F32(_) => {
            return Err(Error::Unsupported("samples of 32 bits are not built yet".into()));
        }
    };
    let (layout, data) = match channels {
        1 => (Layout::Grey, data),
        2 => {
            let pixels = data.as_chunks::<2>().0;
            let spread = pixels.iter().map(|&[v, alpha]| [v, v, v, alpha]);
            (Layout::Rgba, spread.collect::<Vec<_>>().into_flattened())
        }
        3 => (Layout::Rgb, data),
        4 => (Layout::Rgba, data),
        n => {
            let first = data.chunks_exact(n).filter_map(|pixel| pixel.first_chunk::<3>());
            (Layout::Rgb, first.copied().collect::<Vec<_>>().into_flattened())
        }
    };
    Ok(Picture {
        size: raster.size,
        layout,
        data,
    })
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
fn luma(rgb: [u8; 3]) -> u8 {
    let [r, g, b] = rgb.map(u32::from);
    let [wr, wg, wb] = LUMA;
    ((wr * r + wg * g + wb * b + (1 << 15)) >> 16) as u8
}

/// Values over `threshold` become 255, the others 0; alpha stays.
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

/// The threshold that separates a histogram best: it maximises the variance between the classes `v <= threshold` and
/// `v > threshold` (N. Otsu, IEEE Trans. SMC 9(1), 1979, eq. 18). Of equal ones the lowest; 127 when fewer than two
/// values are filled, which leaves bright bright and dark dark.
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

/// Lays straight alpha over `background` and drops it, rounded to the nearest. Pictures without alpha stay as they are.
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

/// Multiplies colours by alpha, rounded to the nearest: straight becomes premultiplied.
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

/// Divides colours by alpha, rounded to the nearest: premultiplied becomes straight. Black where alpha is 0.
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
    use crate::geometry::Size;

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

    #[test]
    fn channels_become_the_nearest_layout() {
        let of = |channels, data: &[u8]| {
            let picture = picture(raster(channels, Samples::U8(data.to_vec()))).unwrap();
            (picture.layout, picture.data)
        };
        assert_eq!(of(1, &[1, 2]), (Layout::Grey, vec![1, 2]));
        assert_eq!(of(2, &[1, 2, 3, 4]), (Layout::Rgba, vec![1, 1, 1, 2, 3, 3, 3, 4]));
        assert_eq!(of(3, &[1, 2, 3]), (Layout::Rgb, vec![1, 2, 3]));
        assert_eq!(of(4, &[1, 2, 3, 4]), (Layout::Rgba, vec![1, 2, 3, 4]));
        let six: Vec<u8> = (1..=12).collect();
        assert_eq!(of(6, &six), (Layout::Rgb, vec![1, 2, 3, 7, 8, 9]));
    }

    #[test]
    fn sixteen_bits_keep_their_high_byte() {
        let deep = raster(1, Samples::U16(vec![0, 255, 256, 0x7fff, 0xffff]));
        assert_eq!(picture(deep).unwrap().data, [0, 0, 1, 127, 255]);
    }

    #[test]
    fn a_raster_that_lies_about_its_size_is_corrupt() {
        let mut short = raster(3, Samples::U8(vec![0; 9]));
        short.size.h = 2;
        assert!(matches!(picture(short), Err(Error::Corrupt(_))));
        assert_eq!(
            picture(raster(1, Samples::F32(vec![0.5]))).unwrap_err().status(),
            501
        );
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
    fn otsu_separates_two_heaps_and_takes_the_lowest_of_equals() {
        let mut histogram = [0; 256];
        (histogram[10], histogram[200]) = (70, 30);
        assert_eq!(otsu(&histogram), 10);
        (histogram[20], histogram[190]) = (70, 30);
        assert_eq!(otsu(&histogram), 20);
    }

    #[test]
    fn otsu_of_nothing_to_separate_is_the_middle() {
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
