//! SGI LogLuv: decodes runs of bytes or packed pixels to 8-bit grey or RGB (G. Ward Larson, "Overcoming gamut and
//! dynamic range limitations in digital images", 1998; the encodings of TIFF tags 32844 and 32845).
//!
//! The luminance is logarithmic and has no white point; as in libtiff, 1 is white, the display curve is a square
//! root, and the primaries are those of ITU-R BT.709 around a neutral white.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "light is between 0 and 1 when it is cast"
)]

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use std::sync::LazyLock;

/// The encoding of colour pixels. Luminance alone is always 16 bits in runs (as in libtiff).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LuvCoding {
    /// 32 bits per pixel; each row is stored as runs of the most significant bytes, then of the next ones, and so on
    /// (TIFF compression 34676).
    Runs,
    /// 24 bits per pixel, packed (TIFF compression 34677).
    Packed,
}

/// X, Y, Z to linear red, green and blue.
const TO_RGB: [[f64; 3]; 3] = [
    [2.690, -1.276, -0.414],
    [-1.022, 1.978, 0.044],
    [0.061, -0.224, 1.163],
];

/// Rows of equal v' in the 24-bit encoding, from `LOWEST` on in steps of `STEP`: the number of equal rows, the lowest
/// u' in millionths, and the number of colours, `STEP` apart. Derived from libtiff 4.5's output for all 2^14 indices
/// at one luminance.
#[rustfmt::skip]
const ROWS: &[(usize, u32, u8)] = &[
    (1, 247663, 4), (1, 243779, 6), (1, 241684, 7), (1, 237874, 9), (1, 235906, 10), (1, 232153, 12),
    (1, 228352, 14), (1, 226259, 15), (1, 222371, 17), (1, 220410, 18), (1, 214710, 21),
    (1, 212714, 22), (1, 210721, 23), (1, 204976, 26), (1, 202986, 27), (1, 199245, 29),
    (1, 195525, 31), (1, 193560, 32), (1, 189878, 34), (2, 186216, 36), (1, 182592, 38),
    (1, 179003, 40), (1, 175466, 42), (2, 172001, 44), (2, 168612, 46), (1, 163575, 49),
    (3, 158642, 52), (2, 153815, 55), (2, 149097, 58), (3, 142746, 62), (3, 138270, 65),
    (2, 132166, 69), (3, 126204, 73), (4, 120381, 77), (3, 112962, 82), (4, 107450, 86),
    (3, 100343, 91), (4, 95126, 95), (4, 88276, 100), (4, 81523, 105), (4, 74861, 110), (4, 68290, 115),
    (4, 63573, 119), (4, 57219, 124), (5, 50985, 129), (4, 44859, 134), (4, 40571, 138),
    (4, 36339, 142), (4, 32139, 146), (3, 27947, 150), (4, 23739, 154), (3, 19504, 158),
    (4, 16976, 161), (3, 12639, 165), (3, 9991, 168), (3, 9016, 170), (2, 6217, 173), (3, 5097, 175),
    (2, 3909, 177), (1, 2340, 177), (1, 2389, 170), (1, 1068, 164), (1, 1653, 157), (1, 717, 150),
    (1, 1614, 143), (1, 270, 136), (1, 484, 129), (1, 1103, 123), (1, 1242, 115), (1, 1188, 109),
    (1, 1011, 103), (1, 709, 97), (1, 301, 89), (1, 2416, 82), (1, 3251, 76), (1, 3246, 69),
    (1, 4141, 62), (1, 5963, 55), (1, 8839, 47), (1, 10490, 40), (1, 16994, 31), (1, 23659, 21),
];

/// Steps of u' and v' in the 24-bit encoding; a code is the middle of its step.
const STEP: f64 = 0.0035;

/// The lowest v' of the 24-bit encoding.
const LOWEST: f64 = 0.01694;

/// u' and v' of equal energy, for indices without a colour.
const NEUTRAL: (f64, f64) = (4.0 / 19.0, 9.0 / 19.0);

/// u' and v' of every index of the 24-bit encoding with a colour.
static GAMUT: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| {
    let alike = |&(times, first, count): &(usize, u32, u8)| std::iter::repeat_n((first, count), times);
    let middles = |from: f64| (0u32..).map(move |step| from + STEP * (f64::from(step) + 0.5));
    let rows = ROWS.iter().flat_map(alike).zip(middles(LOWEST));
    rows.flat_map(|((first, count), v)| {
        middles(f64::from(first) / 1e6)
            .take(count.into())
            .map(move |u| (u, v))
    })
    .collect()
});

/// Decodes the upper left `size` of rows of `width` pixels: `channels` is 1 (luminance) or 3 (luminance and
/// chromaticity). `Error::Corrupt` if the stream ends early.
pub fn decode(data: &[u8], coding: LuvCoding, width: u32, size: Size, channels: usize) -> Result<Vec<u8>> {
    match coding {
        LuvCoding::Packed if channels > 1 => packed(data, width, size),
        _ => runs(data, width, size, channels),
    }
}

fn short() -> Error {
    Error::Corrupt("LogLuv stream ends early".into())
}

fn packed(data: &[u8], width: u32, size: Size) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(size.w as usize * size.h as usize * 3);
    let mut rest = data.as_chunks::<3>().0;
    for _ in 0..size.h {
        let row = rest.get(..size.w as usize).ok_or_else(short)?;
        out.extend(
            row.iter()
                .flat_map(|&[a, b, c]| small(u32::from_be_bytes([0, a, b, c]))),
        );
        rest = rest.get(width as usize..).unwrap_or_default();
    }
    Ok(out)
}

fn runs(data: &[u8], width: u32, size: Size, channels: usize) -> Result<Vec<u8>> {
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

/// Appends one less significant byte to each pixel of the row.
fn plane(rest: &mut &[u8], row: &mut [u32]) -> Result<()> {
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

/// 15 bits of the logarithm to base 2^(1/256), offset by 64, and a sign in the top bit.
fn luminance(code: u32) -> f64 {
    let exponent = f64::from(code & 0x7fff);
    let value = if exponent == 0.0 {
        0.0
    } else {
        ((exponent + 0.5) / 256.0 - 64.0).exp2()
    };
    if code & 0x8000 == 0 { value } else { -value }
}

/// Luminance in the upper half, followed by CIE 1976 u' and v' in units of 1/410.
fn colour(code: u32) -> [u8; 3] {
    let [_, _, u, v] = code.to_be_bytes().map(|byte| (f64::from(byte) + 0.5) / 410.0);
    rgb(luminance(code >> 16), (u, v))
}

/// Ten bits of the logarithm to base 2^(1/64), offset by 12, followed by an index of u' and v'.
fn small(code: u32) -> [u8; 3] {
    let y = match code >> 14 {
        0 => 0.0,
        exponent => ((f64::from(exponent) + 0.5) / 64.0 - 12.0).exp2(),
    };
    let index = (code & 0x3fff) as usize;
    rgb(y, GAMUT.get(index).copied().unwrap_or(NEUTRAL))
}

/// Converts a luminance and CIE 1976 u' and v' for display.
fn rgb(y: f64, (u, v): (f64, f64)) -> [u8; 3] {
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
        let row = decode(&data, LuvCoding::Runs, 4, Size::new(4, 1), 1).unwrap();
        // 256 times the square root of 1/4 and 1/2, and half a step.
        assert_eq!(row, [128, 128, 128, 181]);
        assert_eq!(
            decode(&data, LuvCoding::Runs, 4, Size::new(2, 1), 1).unwrap(),
            [128, 128]
        );
        for cut in 0..data.len() {
            assert!(decode(&data[..cut], LuvCoding::Runs, 4, Size::new(4, 1), 1).is_err());
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

    #[test]
    fn indices_of_packed_pixels_name_colours_row_by_row() {
        let table: &[(f64, f64)] = &GAMUT;
        assert_eq!(table.len(), 16289);
        let near = |index: usize, u: f64, v: f64| {
            let (found_u, found_v) = table[index];
            (found_u - u).abs() < 1e-6 && (found_v - v).abs() < 1e-6
        };
        // by libtiff: first and last of a row, and of all
        assert!(near(0, 0.249413, 0.01869));
        assert!(near(3, 0.259913, 0.01869));
        assert!(near(4, 0.245529, 0.02219));
        assert!(near(16288, 0.095409, 0.58569));
    }

    #[test]
    fn packed_pixels_are_shown_as_libtiff_shows_them() {
        // in its 8-bit mode; the last has an index of no colour
        let cases: [(u32, [u8; 3]); 8] = [
            (0x00_0005, [0, 0, 0]),
            (0x00_4005, [16, 0, 48]),
            (0xa0_1f40, [255, 0, 195]),
            (0xaf_cbb8, [106, 128, 255]),
            (0xaf_fa98, [255, 131, 52]),
            (0xaf_ffa0, [0, 228, 0]),
            (0xbf_ffff, [255, 255, 255]),
            (0x96_3fff, [103, 103, 103]),
        ];
        for (code, wanted) in cases {
            let found = small(code);
            let near = found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 1);
            assert!(near, "{code:06x}: {found:?}");
        }
    }

    #[test]
    fn packed_rows_are_cut_and_short_ones_are_corrupt() {
        let pixel = |index: u8| [0xaf, 0xcb, index];
        let data: Vec<u8> = (0..6).flat_map(pixel).collect();
        let decoded = |data: &[u8], size| decode(data, LuvCoding::Packed, 3, size, 3);
        let whole = decoded(&data, Size::new(3, 2)).unwrap();
        let cut = [&whole[..6], &whole[9..15]].concat();
        assert_eq!(decoded(&data, Size::new(2, 2)).unwrap(), cut);
        assert_eq!(decoded(&data[..15], Size::new(2, 2)).unwrap(), cut);
        for end in 0..15 {
            let found = decoded(&data[..end], Size::new(2, 2));
            assert!(matches!(found, Err(Error::Corrupt(_))), "{end}");
        }
    }

    #[test]
    fn luminance_alone_is_in_runs_whatever_the_coding() {
        let data = [129, 62, 1, 63, 4, 0, 0, 0, 0];
        let decoded = |coding| decode(&data, coding, 4, Size::new(4, 1), 1).unwrap();
        assert_eq!(decoded(LuvCoding::Packed), decoded(LuvCoding::Runs));
    }
}
