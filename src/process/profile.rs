//! ICC profiles: validation, description of the colour space, and the profile of sRGB.
//!
//! A profile whose header or tag table is invalid is ignored (ICC.1:2022 §7); one that the library cannot use
//! leaves the pixels as they are.

use crate::error::Error;
use crate::error::Result;
use crate::process::colour::eight;
use crate::process::resize::Resample;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Meaning;
use crate::raster::Raster;
use crate::raster::Samples;
use moxcms::ColorProfile;
use moxcms::Layout;
use moxcms::RenderingIntent;
use moxcms::Transform8BitExecutor;
use moxcms::Transform16BitExecutor;
use moxcms::TransformOptions;
use std::sync::Arc;
use std::sync::LazyLock;

/// Bytes of a profile's header, and of an entry of its tag table.
const HEADER: usize = 128;
const ROW: usize = 12;

/// Maximum number of tags of a profile; the standard defines fewer than a hundred.
const TAGS: usize = 1000;

/// Longest profile that is read, in bytes: the most that a JPEG file can hold.
const LONGEST: usize = 1 << 24;

/// The profile without trailing bytes, if it is valid and describes this kind of colour.
///
/// Checked are the length, the signature, that the class has pixels on its device side, the connection space, and
/// that the tag table and the tags are inside the profile.
pub fn sound(profile: &[u8], colour: Colour) -> Option<&[u8]> {
    let number = |at: usize| -> Option<usize> {
        let bytes: &[u8; 4] = profile.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_be_bytes(*bytes)).ok()
    };
    let profile = profile
        .get(..number(0)?)
        .filter(|profile| profile.len() <= LONGEST)?;
    let word = |at: usize| profile.get(at..at + 4);
    let space: &[u8] = match colour {
        Colour::Grey => b"GRAY",
        Colour::Rgb => b"RGB ",
        Colour::Cmyk => b"CMYK",
        Colour::Lab => b"Lab ",
    };
    let class = [&b"scnr"[..], b"mntr", b"prtr", b"spac"].contains(&word(12)?);
    let connection = [&b"XYZ "[..], b"Lab "].contains(&word(20)?);
    let count = number(HEADER).filter(|count| (1..=TAGS).contains(count))?;
    let table = profile.get(HEADER + 4..HEADER + 4 + count * ROW)?;
    let inside = table
        .as_chunks::<4>()
        .0
        .as_chunks::<3>()
        .0
        .iter()
        .all(|[_, at, len]| {
            let [at, len] = [at, len].map(|v| u64::from(u32::from_be_bytes(*v)));
            at >= (HEADER + 4) as u64 && len >= 8 && at + len <= profile.len() as u64
        });
    let sound = class && connection && inside && word(36)? == b"acsp" && word(16)? == space;
    sound.then_some(profile)
}

/// A profile of sRGB (IEC 61966-2-1), version 4 of the format, 480 bytes.
pub static SRGB: LazyLock<Vec<u8>> = LazyLock::new(srgb);

#[expect(
    clippy::cast_possible_truncation,
    reason = "a profile of a few hundred bytes, numbers below 32768"
)]
fn srgb() -> Vec<u8> {
    /// s15Fixed16 numbers.
    fn numbers(numbers: &[f64]) -> Vec<u8> {
        let fixed = numbers.iter().map(|v| (v * 65536.0).round() as i32);
        fixed.flat_map(i32::to_be_bytes).collect()
    }
    fn fixed(kind: &[u8; 4], values: &[f64]) -> Vec<u8> {
        [&kind[..], &[0; 4], &numbers(values)].concat()
    }
    /// One text, in English.
    fn text(text: &str) -> Vec<u8> {
        let mut tag = b"mluc\0\0\0\0\0\0\0\x01\0\0\0\x0cenUS".to_vec();
        tag.extend_from_slice(&(text.len() as u32 * 2).to_be_bytes());
        tag.extend_from_slice(&28u32.to_be_bytes());
        tag.extend(text.bytes().flat_map(|byte| [0, byte]));
        tag.resize(tag.len().next_multiple_of(4), 0);
        tag
    }
    let white = [0.9642, 1.0, 0.8249];
    // light is ((v + 0.055) / 1.055)^2.4, or v / 12.92 below 0.04045: a parametric curve of type 3
    let mut curve = b"para\0\0\0\0\0\x03\0\0".to_vec();
    curve.extend_from_slice(&numbers(&[2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045]));
    // the primaries, adapted from D65 to D50 by the Bradford matrix
    let tags: [(&[&[u8; 4]], Vec<u8>); 8] = [
        (&[b"desc"], text("sRGB")),
        (&[b"cprt"], text("CC0")),
        (&[b"wtpt"], fixed(b"XYZ ", &white)),
        (
            &[b"chad"],
            fixed(
                b"sf32",
                &[
                    1.04788, 0.02292, -0.05022, 0.02959, 0.99048, -0.01707, -0.00925, 0.01508, 0.75168,
                ],
            ),
        ),
        (&[b"rXYZ"], fixed(b"XYZ ", &[0.43604, 0.22249, 0.01392])),
        (&[b"gXYZ"], fixed(b"XYZ ", &[0.38512, 0.71690, 0.09706])),
        (&[b"bXYZ"], fixed(b"XYZ ", &[0.14305, 0.06061, 0.71393])),
        (&[b"rTRC", b"gTRC", b"bTRC"], curve),
    ];
    let count: usize = tags.iter().map(|(names, _)| names.len()).sum();
    let (mut table, mut data) = ((count as u32).to_be_bytes().to_vec(), Vec::new());
    for (names, tag) in &tags {
        let at = HEADER + 4 + count * ROW + data.len();
        for name in *names {
            table.extend_from_slice(*name);
            table.extend_from_slice(&(at as u32).to_be_bytes());
            table.extend_from_slice(&(tag.len() as u32).to_be_bytes());
        }
        data.extend_from_slice(tag);
    }
    let length = (HEADER + table.len() + data.len()) as u32;
    let mut header = length.to_be_bytes().to_vec();
    header.extend_from_slice(b"\0\0\0\0\x04\x20\0\0mntrRGB XYZ ");
    // a fixed, valid date: 1 January 2000
    header.extend_from_slice(&[7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    header.extend_from_slice(b"acsp");
    header.resize(68, 0);
    header.extend_from_slice(&numbers(&white));
    header.resize(HEADER, 0);
    [header, table, data].concat()
}

/// Converts the colours of a profile to sRGB: relative colorimetric if the profile has that intent, else perceptual
/// or saturation; without black point compensation.
pub struct Transform(Conversion);

enum Conversion {
    /// The sRGB value for each grey value.
    Grey(Box<[u8]>),
    DeepGrey(Box<[u16]>),
    Rgb(Arc<Transform8BitExecutor>),
    DeepRgb(Arc<Transform16BitExecutor>),
    Cmyk(Arc<Transform8BitExecutor>),
}

impl Transform {
    /// The transform for 8-bit or, with `deep`, deeper samples in the colours of a profile; `None` if no conversion
    /// is needed or possible: the profile is invalid, the library cannot use it, or it is sRGB (within 1 of 255).
    pub fn new(profile: &[u8], colour: Colour, deep: bool) -> Option<Transform> {
        let profile = ColorProfile::new_from_slice(sound(profile, colour)?).ok()?;
        let srgb = ColorProfile::new_srgb();
        let intents = [
            RenderingIntent::RelativeColorimetric,
            RenderingIntent::Perceptual,
            RenderingIntent::Saturation,
        ];
        let options = intents.map(|rendering_intent| TransformOptions {
            rendering_intent,
            ..TransformOptions::default()
        });
        let from = match colour {
            Colour::Grey => Layout::Gray,
            Colour::Rgb => Layout::Rgb,
            Colour::Cmyk => Layout::Rgba,
            Colour::Lab => return None,
        };
        let eight = || {
            let make = |options| {
                profile
                    .create_transform_8bit(from, &srgb, Layout::Rgb, options)
                    .ok()
            };
            options.into_iter().find_map(make)
        };
        let sixteen = || {
            let make = |options| {
                profile
                    .create_transform_16bit(from, &srgb, Layout::Rgb, options)
                    .ok()
            };
            options.into_iter().find_map(make)
        };
        let way = match (colour, deep) {
            (Colour::Grey, false) => Conversion::Grey(curve(&(0..=255).collect::<Vec<u8>>(), &*eight()?)?),
            (Colour::Grey, true) => {
                Conversion::DeepGrey(curve(&(0..=65535).collect::<Vec<u16>>(), &*sixteen()?)?)
            }
            (Colour::Rgb, false) => Conversion::Rgb(eight()?),
            (Colour::Rgb, true) => Conversion::DeepRgb(sixteen()?),
            _ => Conversion::Cmyk(eight()?),
        };
        let transform = Transform(way);
        (!transform.changes_nothing()).then_some(transform)
    }

    /// Whether sample values across the whole range change by at most 1/255.
    fn changes_nothing(&self) -> bool {
        let steps = || (0..=255u8).step_by(17);
        let colours: Vec<u8> = steps()
            .flat_map(|r| steps().flat_map(move |g| steps().flat_map(move |b| [r, g, b])))
            .collect();
        let deep = |bytes: &[u8]| -> Vec<u16> { bytes.iter().map(|v| u16::from(*v) * 257).collect() };
        let near = |wanted: &[u8], found: &[u8]| wanted.iter().zip(found).all(|(a, b)| a.abs_diff(*b) <= 1);
        let deep_near =
            |wanted: &[u16], found: &[u16]| wanted.iter().zip(found).all(|(a, b)| a.abs_diff(*b) <= 257);
        match &self.0 {
            Conversion::Grey(table) => near(&(0..=255).collect::<Vec<u8>>(), table),
            Conversion::DeepGrey(table) => deep_near(&(0..=65535).collect::<Vec<u16>>(), table),
            Conversion::Rgb(executor) => {
                let mut out = vec![0; colours.len()];
                executor.transform(&colours, &mut out).is_ok() && near(&colours, &out)
            }
            Conversion::DeepRgb(executor) => {
                let colours = deep(&colours);
                let mut out = vec![0; colours.len()];
                executor.transform(&colours, &mut out).is_ok() && deep_near(&colours, &out)
            }
            Conversion::Cmyk(_) => false,
        }
    }

    /// Converts the raster to sRGB; returns it with its new meaning.
    ///
    /// Grey and RGB keep their channels and, for 8 and 16 bits, their depth. CMYK becomes 8-bit RGB, with alpha if
    /// present; of 16 bits the high byte is used. 32-bit and floating-point samples become 16 bits of their range for
    /// a deep transform. Premultiplied colours are divided by alpha for the conversion. `Corrupt` if the raster does
    /// not contain the samples it declares, or does not match the transform.
    pub fn apply(&self, raster: Raster, meaning: &Meaning) -> Result<(Raster, Meaning)> {
        let Raster {
            size,
            channels,
            samples,
        } = raster;
        let n = usize::from(channels);
        let wrong = || Error::Corrupt(format!("{n} channels of {meaning:?} do not meet their profile"));
        let alpha = usize::from(meaning.alpha != Alpha::None);
        if n < meaning.colour.channels() + alpha || samples.len() as u64 != size.area() * n as u64 {
            return Err(wrong());
        }
        let divided = meaning.alpha == Alpha::Premultiplied;
        let mut meaning = meaning.clone();
        let (samples, channels) = match (&self.0, samples) {
            (Conversion::Grey(table), Samples::U8(mut data)) => {
                let look = |from: &[u8], to: &mut [u8]| look_up(table, from, to);
                each::<u8, 1>(&mut data, n, divided, look)?;
                (Samples::U8(data), channels)
            }
            (Conversion::Rgb(executor), Samples::U8(mut data)) => {
                each::<u8, 3>(&mut data, n, divided, |from, to| {
                    executor.transform(from, to).map_err(cms_error)
                })?;
                (Samples::U8(data), channels)
            }
            (Conversion::DeepGrey(table), samples) => {
                let mut data = sixteen(samples, n, &mut meaning).ok_or_else(wrong)?;
                let look = |from: &[u16], to: &mut [u16]| look_up(table, from, to);
                each::<u16, 1>(&mut data, n, divided, look)?;
                (Samples::U16(data), channels)
            }
            (Conversion::DeepRgb(executor), samples) => {
                let mut data = sixteen(samples, n, &mut meaning).ok_or_else(wrong)?;
                each::<u16, 3>(&mut data, n, divided, |from, to| {
                    executor.transform(from, to).map_err(cms_error)
                })?;
                (Samples::U16(data), channels)
            }
            (Conversion::Cmyk(executor), samples) => {
                let data = eight(samples, n, &meaning.ranges);
                let data = inks(&data, n, alpha == 1, &**executor)?;
                meaning = Meaning::bytes(Colour::Rgb, meaning.alpha);
                (Samples::U8(data), if alpha == 1 { 4 } else { 3 })
            }
            _ => return Err(wrong()),
        };
        Ok((
            Raster {
                size,
                channels,
                samples,
            },
            meaning,
        ))
    }
}

/// A rejection by the profile library is not the fault of the request.
fn cms_error(_: moxcms::CmsError) -> Error {
    Error::Corrupt("the profile cannot be applied".into())
}

/// The first of the three output channels for each grey value.
fn curve<T: Resample + Copy>(
    values: &[T],
    executor: &(dyn moxcms::TransformExecutor<T> + Send + Sync),
) -> Option<Box<[T]>> {
    let mut out = vec![T::default(); values.len() * 3];
    executor.transform(values, &mut out).ok()?;
    Some(out.iter().step_by(3).copied().collect())
}

fn look_up<T: Copy + Into<usize>>(table: &[T], from: &[T], to: &mut [T]) -> Result<()> {
    for (from, to) in from.iter().zip(to) {
        *to = table.get((*from).into()).copied().unwrap_or(*from);
    }
    Ok(())
}

/// Converts the first `N` of every `n` samples in one call; premultiplied colours are divided by the sample that
/// follows them.
fn each<S: Resample, const N: usize>(
    data: &mut Vec<S>,
    n: usize,
    divided: bool,
    change: impl Fn(&[S], &mut [S]) -> Result<()>,
) -> Result<()> {
    if n == N {
        let mut out = vec![S::default(); data.len()];
        change(data, &mut out)?;
        *data = out;
        return Ok(());
    }
    // alpha as a fraction of opaque
    let share = |pixel: &[S]| pixel.get(N).map_or(1.0, |alpha| alpha.number() / S::FULL);
    let scaled = |v: S, by: f32| S::of_sum(S::clamp_sum(v.number() * by));
    let mut colours = Vec::with_capacity(data.len() / n * N);
    for pixel in data.chunks_exact(n) {
        let by = share(pixel);
        let by = if divided && by > 0.0 { by.recip() } else { 1.0 };
        let first = pixel.iter().take(N);
        colours.extend(first.map(|v| if divided { scaled(*v, by) } else { *v }));
    }
    let mut out = vec![S::default(); colours.len()];
    change(&colours, &mut out)?;
    for (pixel, colours) in data.chunks_exact_mut(n).zip(out.as_chunks::<N>().0) {
        let by = share(pixel);
        for (v, colour) in pixel.iter_mut().zip(colours) {
            *v = if divided { scaled(*colour, by) } else { *colour };
        }
    }
    Ok(())
}

/// Converts inks to red, green and blue; the fifth channel follows if it is alpha.
fn inks(data: &[u8], n: usize, alpha: bool, executor: &Transform8BitExecutor) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    let colours = if n == 4 {
        data
    } else {
        let first = data.chunks_exact(n).filter_map(|pixel| pixel.first_chunk::<4>());
        packed.extend(first.flatten());
        &packed
    };
    let mut out = vec![0; colours.len() / 4 * 3];
    executor.transform(colours, &mut out).map_err(cms_error)?;
    if !alpha {
        return Ok(out);
    }
    let alphas = data.chunks_exact(n).filter_map(|pixel| pixel.get(4));
    let pixels = out.as_chunks::<3>().0.iter().zip(alphas);
    Ok(pixels.flat_map(|(&[r, g, b], &alpha)| [r, g, b, alpha]).collect())
}

/// Converts samples of any depth to 16 bits, 32-bit ones by their range. `None` for 8 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of floating point stops at the ends of the range, NaN becomes 0"
)]
fn sixteen(samples: Samples, n: usize, meaning: &mut Meaning) -> Option<Vec<u16>> {
    let ranges = meaning.ranges.clone();
    let term = |(i, value): (usize, f64)| {
        let (low, high) = ranges.get(i % n).copied().unwrap_or((0.0, 65535.0));
        ((value - low) * 65535.0 / (high - low) + 0.5) as u16
    };
    let data: Vec<u16> = match samples {
        Samples::U8(_) => return None,
        Samples::U16(data) => return Some(data),
        Samples::U32(data) => data.into_iter().map(f64::from).enumerate().map(term).collect(),
        Samples::F32(data) => data.into_iter().map(f64::from).enumerate().map(term).collect(),
    };
    meaning
        .ranges
        .iter_mut()
        .for_each(|range| *range = (0.0, 65535.0));
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;

    /// A profile with these tags.
    fn profile(
        class: &[u8; 4],
        space: &[u8; 4],
        connection: &[u8; 4],
        tags: &[(&[u8; 4], Vec<u8>)],
    ) -> Vec<u8> {
        let (mut table, mut data) = ((tags.len() as u32).to_be_bytes().to_vec(), Vec::new());
        for (name, tag) in tags {
            table.extend_from_slice(*name);
            table.extend_from_slice(&((HEADER + 4 + tags.len() * ROW + data.len()) as u32).to_be_bytes());
            table.extend_from_slice(&(tag.len() as u32).to_be_bytes());
            data.extend_from_slice(tag);
        }
        let mut whole = SRGB[..HEADER].to_vec();
        whole[12..16].copy_from_slice(class);
        whole[16..20].copy_from_slice(space);
        whole[20..24].copy_from_slice(connection);
        whole[8] = 2;
        whole.extend(table);
        whole.extend(data);
        let len = whole.len() as u32;
        whole[..4].copy_from_slice(&len.to_be_bytes());
        whole
    }

    fn tag(name: &[u8; 4]) -> Vec<u8> {
        let row = SRGB[HEADER + 4..]
            .chunks(ROW)
            .find(|row| row.starts_with(name))
            .unwrap();
        let number = |at: usize| u32::from_be_bytes(row[at..at + 4].try_into().unwrap()) as usize;
        SRGB[number(4)..][..number(8)].to_vec()
    }

    /// A gamma curve; the exponent is in 1/256.
    fn power(exponent: u16) -> Vec<u8> {
        [&b"curv\0\0\0\0\0\0\0\x01"[..], &exponent.to_be_bytes(), &[0, 0]].concat()
    }

    fn rgb(power_of: u16) -> Vec<u8> {
        let curve = |name| (name, power(power_of));
        let same = |name| (name, tag(name));
        let tags = [
            same(b"wtpt"),
            same(b"rXYZ"),
            same(b"gXYZ"),
            same(b"bXYZ"),
            curve(b"rTRC"),
            curve(b"gTRC"),
            curve(b"bTRC"),
        ];
        profile(b"mntr", b"RGB ", b"XYZ ", &tags)
    }

    fn grey(power_of: u16) -> Vec<u8> {
        profile(
            b"mntr",
            b"GRAY",
            b"XYZ ",
            &[(b"wtpt", tag(b"wtpt")), (b"kTRC", power(power_of))],
        )
    }

    /// A table of two steps per ink: each ink lowers L* by a quarter of its range.
    fn cmyk() -> Vec<u8> {
        let mut table = b"mft1\0\0\0\0\x04\x03\x02\0".to_vec();
        table.extend_from_slice(&[0; 36]);
        (0..4).for_each(|_| table.extend(0..=255));
        for i in 0..16u32 {
            table.extend_from_slice(&[255 - (i.count_ones() * 63) as u8, 128, 128]);
        }
        (0..3).for_each(|_| table.extend(0..=255));
        profile(
            b"prtr",
            b"CMYK",
            b"Lab ",
            &[(b"wtpt", tag(b"wtpt")), (b"A2B0", table)],
        )
    }

    fn raster(channels: u8, samples: Samples) -> Raster {
        Raster {
            size: Size::new(samples.len() as u32 / u32::from(channels), 1),
            channels,
            samples,
        }
    }

    fn apply(
        profile: &[u8],
        colour: Colour,
        alpha: Alpha,
        channels: u8,
        samples: Samples,
    ) -> (Raster, Meaning) {
        let deep = !matches!(samples, Samples::U8(_));
        let transform = Transform::new(profile, colour, deep).unwrap();
        let meaning = Meaning {
            colour,
            alpha,
            ranges: vec![(0.0, 1.0); usize::from(channels)],
        };
        transform.apply(raster(channels, samples), &meaning).unwrap()
    }

    /// The sRGB value of linear light, 0–255.
    fn gamma(light: f64) -> f64 {
        255.0
            * if light <= 0.0031308 {
                12.92 * light
            } else {
                1.055 * light.powf(1.0 / 2.4) - 0.055
            }
    }

    #[test]
    fn the_srgb_profile_is_small_valid_and_an_identity() {
        assert_eq!(SRGB.len(), 480);
        assert_eq!(sound(&SRGB, Colour::Rgb), Some(&SRGB[..]));
        assert!(sound(&SRGB, Colour::Grey).is_none());
        assert!(ColorProfile::new_from_slice(&SRGB).is_ok());
        for deep in [false, true] {
            assert!(Transform::new(&SRGB, Colour::Rgb, deep).is_none());
        }
    }

    #[test]
    fn invalid_profiles_are_ignored() {
        let good = rgb(0x01cd);
        let mut padded = good.clone();
        padded.extend_from_slice(&[0; 9]);
        assert_eq!(
            sound(&padded, Colour::Rgb),
            Some(&good[..]),
            "what follows is cut off"
        );
        let changed = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            sound(&bad, Colour::Rgb).is_some()
        };
        assert!(changed(4, b"none"), "who wrote it does not matter");
        for (at, bytes) in [
            (0, &[255, 255, 255, 255][..]),
            (0, &[0, 0, 0, 100]),
            (12, b"link"),
            (16, b"CMYK"),
            (20, b"RGB "),
            (36, b"asct"),
            (128, &[0, 0, 0, 0]),
            (128, &[0, 0, 3, 232]),
            (128, &[255, 255, 255, 255]),
            (136, &[0, 0, 0, 0]),
            (136, &[0, 1, 0, 0]),
            (136, &[255, 255, 255, 255]),
            (140, &[255, 255, 255, 255]),
            (140, &[0, 0, 0, 7]),
        ] {
            assert!(!changed(at, bytes), "{at} {bytes:?}");
        }
        (0..good.len()).for_each(|len| assert!(sound(&good[..len], Colour::Rgb).is_none(), "{len}"));
    }

    #[test]
    fn colours_follow_their_curve() {
        // gamma 1.8
        let values: Vec<u8> = (0..=255).flat_map(|v| [v, v, v]).collect();
        let (eight, meaning) = apply(
            &rgb(461),
            Colour::Rgb,
            Alpha::None,
            3,
            Samples::U8(values.clone()),
        );
        let deep = values.iter().map(|v| u16::from(*v) * 257).collect();
        let (sixteen, _) = apply(&rgb(461), Colour::Rgb, Alpha::None, 3, Samples::U16(deep));
        let floats = values.iter().map(|v| f32::from(*v) / 255.0).collect();
        let (real, real_meaning) = apply(&rgb(461), Colour::Rgb, Alpha::None, 3, Samples::F32(floats));
        assert_eq!(
            (meaning.colour, real_meaning.ranges[0]),
            (Colour::Rgb, (0.0, 65535.0))
        );
        assert_eq!(sixteen.samples, real.samples);
        let (Samples::U8(eight), Samples::U16(sixteen)) = (eight.samples, sixteen.samples) else {
            panic!("the depth is kept");
        };
        for ((v, eight), deep) in values.iter().zip(eight).zip(sixteen) {
            let wanted = gamma((f64::from(*v) / 255.0).powf(461.0 / 256.0));
            assert!(
                (f64::from(eight) - wanted).abs() < 1.6,
                "{v}: {eight}, not {wanted}"
            );
            assert!(
                (f64::from(deep) / 257.0 - wanted).abs() < 0.7,
                "{v}: {deep}, not {wanted}"
            );
        }
    }

    #[test]
    fn grey_stays_grey_and_extra_channels_are_unchanged() {
        let light = |v: u8| gamma((f64::from(v) / 255.0).powf(461.0 / 256.0));
        let data = Samples::U8(vec![100, 7, 8, 200, 9, 10]);
        let (raster, meaning) = apply(&grey(461), Colour::Grey, Alpha::Straight, 3, data);
        assert_eq!((raster.channels, meaning.colour), (3, Colour::Grey));
        let Samples::U8(data) = raster.samples else {
            panic!("8 bits stay 8")
        };
        assert!(
            (f64::from(data[0]) - light(100)).abs() <= 1.0 && (f64::from(data[3]) - light(200)).abs() <= 1.0
        );
        assert_eq!((data[1], data[2], data[4], data[5]), (7, 8, 9, 10));
        let (raster, _) = apply(
            &grey(461),
            Colour::Grey,
            Alpha::None,
            1,
            Samples::U16(vec![100 * 257]),
        );
        let Samples::U16(data) = raster.samples else {
            panic!("16 bits stay 16")
        };
        assert!((f64::from(data[0]) / 257.0 - light(100)).abs() <= 1.0);
    }

    #[test]
    fn colours_are_divided_by_alpha_and_multiplied_again() {
        let straight = Samples::U8(vec![200, 100, 50, 128]);
        let (straight, _) = apply(&rgb(461), Colour::Rgb, Alpha::Straight, 4, straight);
        let multiplied = Samples::U8(vec![100, 50, 25, 128, 0, 0, 0, 0]);
        let (multiplied, _) = apply(&rgb(461), Colour::Rgb, Alpha::Premultiplied, 4, multiplied);
        let (Samples::U8(a), Samples::U8(b)) = (straight.samples, multiplied.samples) else {
            panic!("8 bits stay 8");
        };
        for (a, b) in a.iter().zip(&b).take(3) {
            assert!(
                (f64::from(*a) * 128.0 / 255.0 - f64::from(*b)).abs() <= 1.0,
                "{a} {b}"
            );
        }
        assert_eq!((b[3], &b[4..]), (128, &[0, 0, 0, 0][..]));
    }

    #[test]
    fn inks_are_converted_by_their_profile() {
        let inks = vec![0, 0, 0, 0, 77, 255, 0, 0, 0, 78, 255, 255, 255, 255, 79];
        let (raster, meaning) = apply(&cmyk(), Colour::Cmyk, Alpha::Straight, 5, Samples::U8(inks));
        assert_eq!(
            (raster.channels, meaning),
            (4, Meaning::bytes(Colour::Rgb, Alpha::Straight))
        );
        let Samples::U8(data) = raster.samples else {
            panic!("8 bits stay 8")
        };
        // L* 100, 75.3 and 1.2 of the table, by the formula of sRGB
        for (pixel, wanted) in data.chunks(4).zip([[255, 77], [186, 78], [4, 79]]) {
            assert!(
                pixel[..3].iter().all(|v| v.abs_diff(wanted[0]) <= 3),
                "{pixel:?}, not {wanted:?}"
            );
            assert_eq!(pixel[3], wanted[1]);
        }
        let deep = Samples::U16(vec![0, 65535, 0, 0]);
        let (raster, _) = apply(&cmyk(), Colour::Cmyk, Alpha::None, 4, deep);
        assert_eq!(raster.channels, 3);
    }

    #[test]
    fn a_raster_of_another_kind_is_refused() {
        let transform = Transform::new(&rgb(461), Colour::Rgb, false).unwrap();
        let meaning = Meaning::bytes(Colour::Rgb, Alpha::Straight);
        for (channels, samples) in [(3, Samples::U8(vec![0; 9])), (4, Samples::U16(vec![0; 8]))] {
            assert!(transform.apply(raster(channels, samples), &meaning).is_err());
        }
        let mut short = raster(4, Samples::U8(vec![0; 8]));
        short.size.h = 2;
        assert!(transform.apply(short, &meaning).is_err());
    }

    #[test]
    fn damaged_profiles_never_panic() {
        let kinds = [
            (rgb(461), Colour::Rgb, 3),
            (SRGB.to_vec(), Colour::Rgb, 3),
            (grey(461), Colour::Grey, 1),
            (cmyk(), Colour::Cmyk, 4),
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let mut used = 0;
        for round in 0..3000 {
            let (good, colour, channels) = &kinds[round % kinds.len()];
            let mut bad = good.clone();
            for _ in 0..1 + random() % 5 {
                // mostly where the profile stores lengths
                let reach = if random() % 3 == 0 {
                    bad.len()
                } else {
                    bad.len().min(500)
                };
                let at = random() % reach;
                bad[at] = match random() % 4 {
                    0 => 255,
                    1 => 0,
                    2 => random() as u8,
                    _ => bad[at] ^ 1 << (random() % 8),
                };
            }
            if random() % 10 == 0 {
                bad.truncate(random() % bad.len());
            }
            if let Some(transform) = Transform::new(&bad, *colour, false) {
                let pixels = (0..=255)
                    .step_by(5)
                    .flat_map(|v| vec![v; usize::from(*channels)])
                    .collect();
                let meaning = Meaning::bytes(*colour, Alpha::None);
                used += u32::from(
                    transform
                        .apply(raster(*channels, Samples::U8(pixels)), &meaning)
                        .is_ok(),
                );
            }
        }
        assert!((300..2700).contains(&used), "{used}");
    }
}
