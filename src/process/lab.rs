//! L*a*b* to sRGB, by the formulas of CIE 15:2004 §8.2.1 and IEC 61966-2-1.
//!
//! The white point of L*a*b* is D50, as in ICC profiles, and is adapted to the D65 of sRGB by the Bradford transform,
//! so that L* 100 is white. Colours outside sRGB are clamped per channel.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts of floating point stop at the ends of the range; light is clamped to 0–1"
)]

use crate::raster::Samples;
use std::sync::LazyLock;

/// X, Y, Z relative to a white of D50 (0.96422, 1, 0.82521), adapted to D65, to linear sRGB.
const TO_RGB: [[f32; 3]; 3] = [
    [3.022_116, -1.617_198, -0.404_918],
    [-0.943_735, 1.916_135, 0.027_6],
    [0.069_368, -0.228_958, 1.159_59],
];

/// Entries of the table below, by the square root of linear light: fine in the dark, and small enough for the L1
/// cache.
const STEPS: u16 = 16383;
/// Adding this to a number from 0 to 2^23 leaves the nearest integer in the lowest bits.
const ROUND: f32 = 8_388_608.0;
/// Pixels in a block.
const BLOCK: usize = 128;

/// Linear light to sRGB (IEC 61966-2-1 §5.2), rounded to the nearest.
static GAMMA: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let code = |step: u16| {
        let linear = (f64::from(step) / f64::from(STEPS)).powi(2);
        let value = if linear <= 0.003_130_8 {
            12.92 * linear
        } else {
            1.055 * linear.powf(1.0 / 2.4) - 0.055
        };
        (value * 255.0).round() as u8
    };
    (0..=STEPS).map(code).collect()
});

/// Converts pixels of `channels` samples, the first three of which are L*, a*, b* as in
/// [`Colour::Lab`](crate::raster::Colour), to 8-bit red, green and blue; with `alpha`, the fourth follows, scaled to
/// 8 bits.
pub fn rgb(samples: &Samples, channels: usize, alpha: bool) -> Vec<u8> {
    match samples {
        Samples::U8(v) => convert(
            v,
            channels,
            alpha,
            |[l, a, b]| [f32::from(l) / 2.55, f32::from(a) - 128.0, f32::from(b) - 128.0],
            |v| v,
        ),
        Samples::U16(v) => convert(
            v,
            channels,
            alpha,
            |[l, a, b]| {
                [
                    f32::from(l) / 655.35,
                    f32::from(a) / 256.0 - 128.0,
                    f32::from(b) / 256.0 - 128.0,
                ]
            },
            |v| v.to_be_bytes()[0],
        ),
        Samples::F32(v) => convert(v, channels, alpha, |lab| lab, |v| (v * 255.0 + 0.5) as u8),
        Samples::U32(v) => convert(v, channels, alpha, |_| [0.0; 3], |v| v.to_be_bytes()[0]),
    }
}

fn convert<T: Copy>(
    samples: &[T],
    channels: usize,
    alpha: bool,
    lab: impl Fn([T; 3]) -> [f32; 3],
    opacity: impl Fn(T) -> u8,
) -> Vec<u8> {
    let gamma = &**GAMMA;
    let code = |step: &u32| gamma.get(*step as usize).copied().unwrap_or(u8::MAX);
    let channels = channels.max(1);
    let to = 3 + usize::from(alpha);
    let mut out = vec![0; samples.len() / channels * to];
    let (mut first, mut second, mut third) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
    let (mut red, mut green, mut blue) = ([0; BLOCK], [0; BLOCK], [0; BLOCK]);
    for (part, out) in samples.chunks(channels * BLOCK).zip(out.chunks_mut(to * BLOCK)) {
        let pixels = || part.chunks_exact(channels);
        for (((pixel, l), a), b) in pixels().zip(&mut first).zip(&mut second).zip(&mut third) {
            if let Some(colours) = pixel.first_chunk::<3>() {
                [*l, *a, *b] = lab(*colours);
            }
        }
        // no branches within a block
        let colours = red.iter_mut().zip(&mut green).zip(&mut blue);
        for (((l, a), b), ((r, g), bl)) in first.iter().zip(&second).zip(&third).zip(colours) {
            [*r, *g, *bl] = linear([*l, *a, *b]).map(step);
        }
        let steps = red.iter().zip(&green).zip(&blue);
        for ((out, pixel), ((r, g), b)) in out.chunks_exact_mut(to).zip(pixels()).zip(steps) {
            if let Some(out) = out.first_chunk_mut::<3>() {
                *out = [code(r), code(g), code(b)];
            }
            if let (Some(out), Some(v)) = (out.get_mut(3), pixel.get(3)) {
                *out = opacity(*v);
            }
        }
    }
    out
}

/// The index of linear light in the table; NaN is 0.
#[expect(clippy::manual_clamp, reason = "of NaN, clamp makes NaN")]
#[inline]
fn step(light: f32) -> u32 {
    (light.max(0.0).min(1.0).sqrt() * f32::from(STEPS) + ROUND).to_bits() & u32::from(u16::MAX)
}

/// Linear red, green and blue; 0–1 within sRGB.
#[inline]
fn linear([l, a, b]: [f32; 3]) -> [f32; 3] {
    const KNEE: f32 = 6.0 / 29.0;
    let y = (l + 16.0) * (1.0 / 116.0);
    let [x, y, z] = [y + a * (1.0 / 500.0), y, y - b * (1.0 / 200.0)].map(|f| {
        let (cube, line) = (f * f * f, 3.0 * KNEE * KNEE * (f - 4.0 / 29.0));
        if f > KNEE { cube } else { line }
    });
    TO_RGB.map(|[wx, wy, wz]| wx * x + wy * y + wz * z)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_the_formulas() {
        // Computed in double precision from the chromaticities of the primaries and whites.
        let cases = [
            ([100.0, 0.0, 0.0], [255, 255, 255]),
            ([50.0, 0.0, 0.0], [119, 119, 119]),
            ([50.0, 60.0, 30.0], [212, 61, 73]),
            ([50.0, -60.0, 30.0], [0, 142, 63]),
            ([30.0, 20.0, -70.0], [0, 65, 183]),
            ([5.0, 0.0, 0.0], [17, 17, 17]),
            ([80.0, 10.0, 90.0], [244, 190, 0]),
            ([0.0, 0.0, 0.0], [0, 0, 0]),
            ([f32::NAN, 0.0, 0.0], [0, 0, 0]),
        ];
        for (lab, wanted) in cases {
            assert_eq!(rgb(&Samples::F32(lab.to_vec()), 3, false), wanted, "{lab:?}");
        }
    }

    #[test]
    fn eight_and_sixteen_bits_are_equivalent() {
        let bytes = rgb(&Samples::U8(vec![128, 188, 158, 7, 255, 128, 128, 9]), 4, true);
        assert_eq!(bytes, [213, 61, 73, 7, 255, 255, 255, 9]);
        let deep = rgb(&Samples::U16(vec![32896, 188 << 8, 158 << 8, 0x0700]), 4, true);
        assert_eq!(deep, bytes[..4]);
        assert_eq!(
            rgb(&Samples::U16(vec![0xffff, 0x8000, 0x8000, 1]), 4, false),
            [255, 255, 255]
        );
    }
}
