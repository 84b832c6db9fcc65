//! Resizes and moves samples at their full depth, for formats with more than 8 bits: from a stored [`Raster`] to
//! one of the requested size.
//!
//! Steps that look at colours exist for 8 bits only.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::process::Op;
use crate::process::resize;
use crate::process::resize::Rows;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Kind;
use crate::raster::Meaning;
use crate::raster::Raster;
use crate::raster::Samples;

/// Whether these steps can be taken over samples of `bits` and `kind`, of so many channels, without making 8 bits of them:
/// grey and RGB, straight alpha, unsigned of 9–32 bits, signed or floating point. Unsigned samples of more than 16 bits,
/// and pixels of more than four channels, are not resampled.
pub fn keeps(ops: &[Op], meaning: &Meaning, bits: u8, kind: Kind, channels: u8) -> bool {
    let resampled = channels <= 4 && (bits <= 16 || kind != Kind::Unsigned);
    let places = ops.iter().all(|op| match op {
        Op::Fit(_) | Op::Turn { .. } => true,
        Op::Resize { .. } => resampled,
        _ => false,
    });
    let colour = matches!(meaning.colour, Colour::Grey | Colour::Rgb);
    let straight = meaning.alpha != Alpha::Premultiplied;
    places && colour && straight && (bits > 8 || kind == Kind::Signed)
}

/// Takes the steps, for which [`keeps`] holds.
pub fn run(mut raster: Raster, meaning: &Meaning, ops: &[Op]) -> Result<Raster> {
    let alpha = meaning.alpha != Alpha::None && usize::from(raster.channels) == meaning.colour.channels() + 1;
    for op in ops {
        let (size, channels) = (raster.size, usize::from(raster.channels));
        raster = match op {
            Op::Resize { crop, to, filter } => {
                macro_rules! resized {
                    ($samples:expr) => {
                        resize::resample(
                            &Rows::of($samples, size.w, channels, alpha),
                            *crop,
                            *to,
                            *filter,
                        )?
                    };
                }
                let samples = match &raster.samples {
                    Samples::U8(samples) => Samples::U8(resized!(samples)),
                    Samples::U16(samples) => Samples::U16(resized!(samples)),
                    Samples::F32(samples) => Samples::F32(resized!(samples)),
                    Samples::U32(_) => return Err(Error::Unsupported("32 bits are not resampled".into())),
                };
                Raster {
                    size: *to,
                    samples,
                    ..raster
                }
            }
            // repeats, or leaves out, the last column and row
            Op::Fit(to) => moved(raster, *to, |x, y| {
                (x.min(size.w.saturating_sub(1)), y.min(size.h.saturating_sub(1)))
            }),
            Op::Turn { mirror, quarters } => {
                let to = if quarters % 2 == 1 { size.turned() } else { size };
                moved(raster, to, |x, y| {
                    let (right, bottom) = (size.w.saturating_sub(1), size.h.saturating_sub(1));
                    let (x, y) = match quarters % 4 {
                        1 => (y, bottom - x.min(bottom)),
                        2 => (right - x.min(right), bottom - y.min(bottom)),
                        3 => (right - y.min(right), x),
                        _ => (x, y),
                    };
                    (if *mirror { right - x.min(right) } else { x }, y)
                })
            }
            _ => return Err(Error::Unsupported("a step that needs 8 bits".into())),
        };
    }
    Ok(raster)
}

/// A raster of another size, each of whose pixels is that of the old one at the place that `from` says.
fn moved(raster: Raster, to: Size, from: impl Fn(u32, u32) -> (u32, u32)) -> Raster {
    let (w, channels) = (raster.size.w as usize, usize::from(raster.channels));
    fn each<S: Copy>(samples: &[S], channels: usize, places: impl Iterator<Item = usize>) -> Vec<S> {
        let pixel = |at: usize| {
            samples
                .get(at * channels..(at + 1) * channels)
                .unwrap_or_default()
        };
        places.flat_map(pixel).copied().collect()
    }
    let places = (0..to.h)
        .flat_map(|y| (0..to.w).map(move |x| (x, y)))
        .map(|(x, y)| {
            let (x, y) = from(x, y);
            y as usize * w + x as usize
        });
    let samples = match &raster.samples {
        Samples::U8(samples) => Samples::U8(each(samples, channels, places)),
        Samples::U16(samples) => Samples::U16(each(samples, channels, places)),
        Samples::U32(samples) => Samples::U32(each(samples, channels, places)),
        Samples::F32(samples) => Samples::F32(each(samples, channels, places)),
    };
    Raster {
        size: to,
        samples,
        ..raster
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::process;
    use crate::process::Crop;
    use crate::process::Filter;

    /// The same steps over 8 bits, and over the same numbers with more.
    fn both(ops: &[Op], colour: Colour, alpha: Alpha) {
        let size = Size::new(7, 5);
        let meaning = Meaning::bytes(colour, alpha);
        let channels = meaning.ranges.len();
        let data: Vec<u8> = (0..35 * channels).map(|i| (i * 29 % 251) as u8).collect();
        let raster = |samples| Raster {
            size,
            channels: channels as u8,
            samples,
        };
        let wanted = process::run(raster(Samples::U8(data.clone())), &meaning, ops, || {
            Err(Error::Unsupported("none".into()))
        })
        .unwrap();
        let deep = raster(Samples::U16(data.iter().map(|&v| u16::from(v) * 257).collect()));
        let found = run(deep, &meaning, ops).unwrap();
        assert_eq!(found.size, wanted.size);
        let Samples::U16(found) = found.samples else {
            panic!("16 bits")
        };
        for (found, wanted) in found.iter().zip(&wanted.data) {
            assert!(
                (i32::from(*found) - i32::from(*wanted) * 257).abs() <= 129,
                "{ops:?}"
            );
        }
        let floats = raster(Samples::F32(data.iter().map(|&v| f32::from(v)).collect()));
        let Samples::F32(found) = run(floats, &meaning, ops).unwrap().samples else {
            panic!("floating point")
        };
        for (found, wanted) in found.iter().zip(&wanted.data) {
            assert!((found - f32::from(*wanted)).abs() <= 0.51, "{ops:?}");
        }
    }

    #[test]
    fn more_bits_go_where_eight_go() {
        let resize = Op::Resize {
            crop: Crop {
                x: 0,
                y: 0,
                w: 7 << 16,
                h: 5 << 16,
            },
            to: Size::new(4, 3),
            filter: Filter::Bilinear,
        };
        for (colour, alpha) in [
            (Colour::Grey, Alpha::None),
            (Colour::Rgb, Alpha::None),
            (Colour::Rgb, Alpha::Straight),
        ] {
            both(std::slice::from_ref(&resize), colour, alpha);
            for size in [Size::new(6, 5), Size::new(8, 6), Size::new(7, 4)] {
                both(&[Op::Fit(size)], colour, alpha);
            }
            for quarters in 0..4 {
                for mirror in [false, true] {
                    both(&[Op::Turn { mirror, quarters }], colour, alpha);
                }
            }
        }
    }

    #[test]
    fn what_looks_at_colours_needs_eight_bits() {
        let grey = Meaning::bytes(Colour::Grey, Alpha::None);
        assert!(keeps(&[], &grey, 16, Kind::Unsigned, 1));
        assert!(!keeps(&[], &grey, 8, Kind::Unsigned, 1));
        assert!(keeps(&[], &grey, 8, Kind::Signed, 1));
        assert!(!keeps(&[Op::Bitonal], &grey, 16, Kind::Unsigned, 1));
        assert!(keeps(&[Op::Fit(Size::new(1, 1))], &grey, 32, Kind::Unsigned, 9));
        let cmyk = Meaning::bytes(Colour::Cmyk, Alpha::None);
        assert!(!keeps(&[], &cmyk, 16, Kind::Unsigned, 4));
    }
}
