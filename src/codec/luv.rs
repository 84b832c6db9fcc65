//! SGI LogLuv: runs of bytes in, 8-bit grey or RGB out (G. Ward Larson, "Overcoming gamut and dynamic range limitations
//! in digital images", 1998; the encodings of TIFF tags 32844 and 32845).
//!
//! The luminance is logarithmic and has no white; as libtiff has it, 1 is white, the curve of display is a square root,
//! and the primaries are those of ITU-R BT.709 around a neutral white. The 24-bit encoding is not known here.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "light is between 0 and 1 when it is cast"
)]

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;

/// X, Y, Z to linear red, green and blue.
const TO_RGB: [[f64; 3]; 3] = [
    [2.690, -1.276, -0.414],
    [-1.022, 1.978, 0.044],
    [0.061, -0.224, 1.163],
];

/// Decodes the upper left `size` of rows of `width` pixels: `channels` is 1 (luminance, 16 bits) or 3 (luminance and
/// chromaticity, 32 bits). `Error::Corrupt` when the stream ends before.
pub fn decode(data: &[u8], width: u32, size: Size, channels: usize) -> Result<Vec<u8>> {
    let planes = if channels == 1 { 2 } else { 4 };
    let mut rest = data;
    let mut row = vec![0u32; width as usize];
    let mut out = Vec::with_capacity(size.w as usize * size.h as usize * channels);
    for _ in 0..size.h {
        row.fill(0);
        for _ in 0..planes {
            plane(&mut rest, &mut row)?;
        }
        for &code in row.iter().take(size.w as usize) {
            if channels == 1 {
                out.push(light(luminance(code)));
            } else {
                out.extend(colour(code));
            }
        }
    }
    Ok(out)
}

/// Puts one more byte below what each pixel of the row has.
fn plane(rest: &mut &[u8], row: &mut [u32]) -> Result<()> {
    let short = || Error::Corrupt("LogLuv stream ends early".into());
    let mut pixels = row.iter_mut();
    while !pixels.as_slice().is_empty() {
        let (&head, after) = rest.split_first().ok_or_else(short)?;
        if let Some(count) = head.checked_sub(126).filter(|count| *count >= 2) {
            let (&byte, after) = after.split_first().ok_or_else(short)?;
            pixels
                .by_ref()
                .take(count.into())
                .for_each(|pixel| *pixel = *pixel << 8 | u32::from(byte));
            *rest = after;
        } else {
            let (bytes, after) = after.split_at_checked(head.into()).ok_or_else(short)?;
            for (pixel, byte) in pixels.by_ref().take(bytes.len()).zip(bytes) {
                *pixel = *pixel << 8 | u32::from(*byte);
            }
            *rest = after;
        }
    }
    Ok(())
}

/// 15 bits of the logarithm to base 2^(1/256), offset by 64, below a sign.
fn luminance(code: u32) -> f64 {
    let exponent = f64::from(code & 0x7fff);
    let value = if exponent == 0.0 {
        0.0
    } else {
        ((exponent + 0.5) / 256.0 - 64.0).exp2()
    };
    if code & 0x8000 == 0 { value } else { -value }
}

/// Luminance in the upper half, then CIE 1976 u' and v' in units of 1/410.
fn colour(code: u32) -> [u8; 3] {
    let y = luminance(code >> 16);
    let [_, _, u, v] = code.to_be_bytes().map(|byte| (f64::from(byte) + 0.5) / 410.0);
    let sum = 6.0 * u - 16.0 * v + 12.0;
    let (cx, cy) = (9.0 * u / sum, 4.0 * v / sum);
    let (x, z) = (cx / cy * y, (1.0 - cx - cy) / cy * y);
    TO_RGB.map(|[wx, wy, wz]| light(wx * x + wy * y + wz * z))
}

fn light(linear: f64) -> u8 {
    (256.0 * linear.clamp(0.0, 1.0).sqrt()).min(255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luminance_is_a_power_of_two() {
        // 2^0 is 64 * 256, half a step less.
        assert!((luminance(64 << 8) - 1.001).abs() < 0.001);
        assert!((luminance(63 << 8) - 0.5).abs() < 0.001);
        assert!((luminance(0x8000 | 65 << 8) + 2.0).abs() < 0.01);
        assert_eq!(luminance(0), 0.0);
    }

    #[test]
    fn runs_and_literals_of_both_planes_make_a_row() {
        // High bytes: three of 62, one of 63; low bytes: one by one.
        let data = [129, 62, 1, 63, 4, 0, 0, 0, 0];
        let row = decode(&data, 4, Size::new(4, 1), 1).unwrap();
        // 256 times the square root of 1/4 and 1/2, and half a step.
        assert_eq!(row, [128, 128, 128, 181]);
        assert_eq!(decode(&data, 4, Size::new(2, 1), 1).unwrap(), [128, 128]);
        for cut in 0..data.len() {
            assert!(decode(&data[..cut], 4, Size::new(4, 1), 1).is_err());
        }
    }

    #[test]
    fn a_neutral_colour_is_grey() {
        // u' 0.2105, v' 0.4737 are those of equal energy (CIE 15 §7.2).
        let code = (62 << 24) | (86 << 8) | 194;
        let [r, g, b] = colour(code);
        assert!(
            r.abs_diff(128) <= 2 && g.abs_diff(128) <= 2 && b.abs_diff(128) <= 2,
            "{r} {g} {b}"
        );
    }
}
