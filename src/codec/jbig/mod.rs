//! JBIG (ITU-T T.82) in TIFF: decodes bytes to rows of bits, where foreground is 1.
//!
//! Supports one plane in one resolution decoder; no TIFF writer produces others. The most significant bit of a byte
//! comes first. The stream itself may have reversed bits: libtiff writes it so for FillOrder 1, and not for 2.

mod markers;
mod qm;

use crate::codec::jbig::markers::BieHeader;
use crate::codec::jbig::markers::Stripe;
use crate::codec::jbig::markers::Stripes;
use crate::codec::jbig::qm::Contexts;
use crate::codec::jbig::qm::Qm;
use crate::error::Error;
use crate::error::Result;

/// The position of the template's adaptive pixel, relative to the current pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Adaptive {
    /// Columns to the left.
    left: i8,
    /// Rows above.
    up: u8,
}

impl Adaptive {
    /// The initial position.
    const NOMINAL: Adaptive = Adaptive { left: -2, up: 1 };
}

/// Decodes a stream of `width` pixels per row into `scratch`, and returns its rows, at most `rows`, each starting on
/// a byte boundary.
///
/// `Error::Corrupt` if it has another width, more rows, or ends early; `Error::Unsupported` if it has more than one
/// plane or resolution decoder.
pub fn decode<'a>(data: &mut [u8], width: u32, rows: u32, scratch: &'a mut Vec<u8>) -> Result<&'a mut [u8]> {
    if markers::is_reversed(data) {
        data.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
    }
    let (header, body) = BieHeader::parse(data)?;
    let lines = header.lines(body)?;
    if header.width != width || lines > rows {
        return Err(Error::Corrupt(format!(
            "a JBIG image has {}x{lines} pixels, expected a width of {width} and at most {rows} rows",
            header.width
        )));
    }
    let line = (width as usize).div_ceil(8).max(1);
    scratch.clear();
    scratch.resize(line.saturating_mul(lines as usize), 0);
    let mut decoder = StripeDecoder::new(&header);
    let mut stripes = Stripes::new(body);
    let mut done = 0;
    while done < scratch.len() {
        let stripe = stripes.next()?;
        let end = line.saturating_mul(header.stripe as usize).saturating_add(done);
        let end = end.min(scratch.len());
        decoder.stripe(&stripe, scratch.get_mut(..end).unwrap_or_default(), done, line);
        done = end;
    }
    Ok(scratch)
}

/// The decoder state that carries over to the next stripe.
struct StripeDecoder {
    width: usize,
    /// The template has two rows instead of three.
    two_row_template: bool,
    /// Typical prediction is enabled.
    typical: bool,
    /// The last row was typical.
    is_typical: bool,
    adaptive: Adaptive,
    contexts: Contexts,
    /// Byte offset of the first row since the last reset; rows above it count as white.
    top: usize,
}

impl StripeDecoder {
    fn new(header: &BieHeader) -> StripeDecoder {
        StripeDecoder {
            width: header.width as usize,
            two_row_template: header.two_row_template,
            typical: header.typical,
            is_typical: false,
            adaptive: Adaptive::NOMINAL,
            contexts: Contexts::new(),
            top: 0,
        }
    }

    /// Decodes the rows from byte `start` to the end of `rows`, `line` bytes each.
    fn stripe(&mut self, stripe: &Stripe, rows: &mut [u8], start: usize, line: usize) {
        let mut qm = Qm::new(stripe.coded);
        let mut moves = stripe.moves.iter().peekable();
        for (row, at) in (0u32..).zip((start..rows.len()).step_by(line)) {
            while let Some(change) = moves.next_if(|change| change.row <= row) {
                self.adaptive = change.position;
            }
            let (above, rest) = rows.split_at_mut(at);
            let above = Above {
                rows: above.get(self.top..).unwrap_or_default(),
                line,
            };
            let row = rest.get_mut(..line).unwrap_or_default();
            if self.typical {
                let context = if self.two_row_template { 0x195 } else { 0x0e5 };
                // a decision of 0 toggles the flag
                self.is_typical ^= qm.bit(&mut self.contexts, context) == 0;
            }
            if self.is_typical {
                match above.row(1) {
                    [] => {}
                    above => row.copy_from_slice(above),
                }
            } else if self.two_row_template {
                self.row::<true>(&mut qm, &above, row);
            } else {
                self.row::<false>(&mut qm, &above, row);
            }
        }
        if stripe.resets {
            self.contexts = Contexts::new();
            self.adaptive = Adaptive::NOMINAL;
            self.is_typical = false;
            self.top = rows.len();
        }
    }

    /// Decodes a row, pixel by pixel. A template of three rows has 3 pixels of the first, 4 of the second and 2 of
    /// the last; one of two rows has 5 and 4; the adaptive pixel is added.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the row's pixels are the lowest bits of what was decoded"
    )]
    fn row<const TWO: bool>(&mut self, qm: &mut Qm, above: &Above, row: &mut [u8]) {
        let Adaptive { left, up } = self.adaptive;
        let (two_above, one_above, adaptive_row) = (above.row(2), above.row(1), above.row(up));
        let byte = |row: &[u8], at: usize| u32::from(row.get(at).copied().unwrap_or(0));
        // the rows above, up to the byte after this one; the current row
        let mut two_up = byte(two_above, 0);
        let mut one_up = byte(one_above, 0);
        let mut here = 0u128;
        let pixels = (0..self.width).step_by(8);
        for (at, (to, start)) in row.iter_mut().zip(pixels).enumerate() {
            two_up = two_up << 8 | byte(two_above, at + 1);
            one_up = one_up << 8 | byte(one_above, at + 1);
            let shifted = byte_left_of(adaptive_row, at, left);
            let count = (self.width - start).min(8);
            for pixel in 0..count {
                let right = 14 - pixel;
                let adaptive = match up {
                    0 => (here >> (left - 1)) as usize,
                    _ => usize::from(shifted >> (7 - pixel)),
                };
                let adaptive = adaptive & 1;
                let context = if TWO {
                    (one_up >> right & 0x1f) << 5 | here as u32 & 0xf
                } else {
                    (two_up >> right & 7) << 7 | (one_up >> right & 0xf) << 3 | here as u32 & 3
                };
                let context = context as usize | adaptive << if TWO { 4 } else { 2 };
                here = here << 1 | u128::from(qm.bit(&mut self.contexts, context));
            }
            *to = (here as u8) << (8 - count);
        }
    }
}

/// The rows above, the nearest last.
struct Above<'a> {
    rows: &'a [u8],
    /// Bytes per row.
    line: usize,
}

impl Above<'_> {
    /// The row `up` rows above; white rows, and the current one, have no bytes.
    fn row(&self, up: u8) -> &[u8] {
        let start = self.line.saturating_mul(up.into());
        let start = self.rows.len().checked_sub(start);
        let row = start.and_then(|start| self.rows.get(start..)?.get(..self.line));
        row.unwrap_or_default()
    }
}

/// The eight pixels that are `left` positions before those of byte `at`; outside the row they are white.
fn byte_left_of(row: &[u8], at: usize, left: i8) -> u8 {
    let first = at.cast_signed() * 8 - isize::from(left);
    let byte = |at: isize| usize::try_from(at).ok().and_then(|at| row.get(at).copied());
    let at = first.div_euclid(8);
    let pair = [byte(at), byte(at + 1)].map(Option::unwrap_or_default);
    let [byte, _] = (u16::from_be_bytes(pair) << first.rem_euclid(8)).to_be_bytes();
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [`rings`] coded by JBIG-KIT's pbmtojbg: three-row template, one stripe, an escaped 0xff.
    #[rustfmt::skip]
    const THREE: &[u8] = &[
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x10, 0x08, 0x00,
        0x00, 0x00, 0x78, 0x37, 0xfb, 0xe6, 0xcc, 0x3d, 0x21, 0xce, 0xb8, 0x89, 0x60, 0x92, 0x89, 0x63, 0x2b, 0x35,
        0x23, 0xb2, 0x19, 0xd4, 0xd6, 0x78, 0xb0, 0x5e, 0x96, 0xe2, 0x21, 0x18, 0x0e, 0xff, 0x00, 0x6f, 0x28, 0x8d,
        0xc2, 0xf4, 0x81, 0x60, 0x57, 0xca, 0x99, 0xc5, 0x07, 0x97, 0x2a, 0x53, 0xca, 0x3e, 0x90, 0xff, 0x02,
    ];

    /// Two-row template, typical prediction, stripes of 5 rows, a comment.
    #[rustfmt::skip]
    const TWO: &[u8] = &[
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x05, 0x08, 0x00,
        0x00, 0x48, 0xff, 0x07, 0x00, 0x00, 0x00, 0x02, 0x61, 0x62, 0xb9, 0xeb, 0x51, 0xd8, 0x5f, 0x1f, 0x23, 0x99,
        0xed, 0x27, 0xbd, 0x44, 0x32, 0xcf, 0x95, 0x98, 0xff, 0x02, 0xe4, 0x48, 0xc6, 0x37, 0xf0, 0xff, 0x02, 0x61,
        0xad, 0xc5, 0x45, 0x2e, 0x9e, 0x0e, 0xc7, 0x1a, 0x2c, 0xb2, 0x9e, 0xc2, 0x10, 0xf7, 0x7c, 0xff, 0x02, 0xac,
        0x3b, 0x62, 0xfa, 0xff, 0x02,
    ];

    /// Three-row template, typical prediction, stripes of 6 rows, with a reset after each.
    #[rustfmt::skip]
    const RESET: &[u8] = &[
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x06, 0x08, 0x00,
        0x00, 0x08, 0xb9, 0xf9, 0x7d, 0xf3, 0x66, 0x1e, 0xce, 0x70, 0xbc, 0x79, 0x73, 0xfb, 0x0d, 0xc8, 0xb2, 0xaa,
        0x5e, 0xff, 0x03, 0xbe, 0xc5, 0xf1, 0xb6, 0x74, 0x05, 0xbc, 0xb2, 0xbc, 0xee, 0x29, 0xb2, 0x9b, 0x85, 0xd6,
        0x83, 0x05, 0xff, 0x03, 0xbc, 0x1b, 0xf7, 0x51, 0x27, 0xef, 0x97, 0x3a, 0x07, 0x27, 0x55, 0x2d, 0x03, 0xc4,
        0x2b, 0xa8, 0x5c, 0x80, 0xff, 0x03,
    ];

    /// Two-row template, stripes of 7 rows, 40 rows declared and reduced to 16 by NEWLEN.
    #[rustfmt::skip]
    const NEWLEN: &[u8] = &[
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x07, 0x08, 0x00,
        0x00, 0x60, 0x78, 0x1b, 0xa3, 0xb0, 0xb9, 0xff, 0x00, 0xb1, 0x8d, 0xb3, 0x4b, 0xde, 0x21, 0xea, 0x8a, 0x5d,
        0xd1, 0xc5, 0x90, 0x33, 0xd3, 0x1b, 0x98, 0xff, 0x02, 0x04, 0x76, 0xb5, 0x50, 0xc6, 0xfe, 0x03, 0x86, 0xc2,
        0x2a, 0x50, 0x02, 0xf0, 0x91, 0x40, 0x55, 0x28, 0x87, 0x76, 0xff, 0x02, 0xf3, 0x1b, 0x1d, 0xf0, 0x01, 0x4d,
        0x69, 0x94, 0xd8, 0xff, 0x02, 0xff, 0x05, 0x00, 0x00, 0x00, 0x10, 0xff, 0x02,
    ];

    /// Three-row template, [`periods`], 400x12: the adaptive pixel moves to 9 columns to the left in row 8.
    #[rustfmt::skip]
    const MOVED: &[u8] = &[
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x90, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x0c, 0x7f, 0x00,
        0x00, 0x00, 0xff, 0x06, 0x00, 0x00, 0x00, 0x08, 0x09, 0x00, 0xbc, 0x68, 0x28, 0xf2, 0xbf, 0xf1, 0xbf, 0x59,
        0xb2, 0xce, 0x0c, 0x18, 0x30, 0x60, 0xc1, 0x83, 0x06, 0x0c, 0x18, 0x30, 0x60, 0xc1, 0x83, 0x06, 0x0c, 0x18,
        0x30, 0x60, 0xc1, 0x83, 0x06, 0x0c, 0x18, 0x30, 0x60, 0xc1, 0x83, 0x06, 0x0c, 0x18, 0x2e, 0x6f, 0x68, 0xc8,
        0x00, 0x06, 0x23, 0x2c, 0x82, 0x00, 0x02, 0xaf, 0x1b, 0x22, 0x00, 0x01, 0x3d, 0x12, 0x09, 0xe4, 0x00, 0x01,
        0x9a, 0x3f, 0xf4, 0xa1, 0x22, 0x5a, 0xdc, 0x8a, 0xf8, 0xf3, 0xe4, 0xf6, 0xe0, 0x75, 0x99, 0xdf, 0x80, 0x00,
        0x5f, 0x69, 0xc7, 0x00, 0x00, 0x2a, 0xb0, 0x1e, 0xec, 0x00, 0x00, 0x09, 0x5f, 0x1f, 0x47, 0xe6, 0x64, 0x43,
        0x47, 0xd1, 0x58, 0xda, 0x00, 0xb3, 0x6a, 0x55, 0xf7, 0x51, 0xf7, 0x35, 0x3a, 0x9d, 0xdc, 0xd7, 0x45, 0x70,
        0x49, 0x2b, 0x3f, 0x04, 0x9c, 0x57, 0x46, 0xc0, 0xff, 0x02,
    ];

    /// Two-row template, 600x12, stripes of 6 rows: the adaptive pixel moves between the stripes.
    #[rustfmt::skip]
    const MOVED_TWO: &[u8] = &[
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x58, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x06, 0x7f, 0x00,
        0x00, 0x40, 0xb0, 0xec, 0xf7, 0x65, 0x67, 0xbf, 0x1a, 0xba, 0xad, 0xd6, 0x45, 0x91, 0xf2, 0x66, 0x51, 0x9b,
        0x6d, 0xb6, 0xdb, 0x6d, 0xb6, 0xdb, 0x6d, 0xb6, 0xdb, 0x6d, 0xb6, 0xfc, 0x36, 0xa3, 0x20, 0x00, 0x00, 0x0f,
        0xae, 0xc1, 0x08, 0x00, 0x00, 0x01, 0xde, 0x86, 0x70, 0x00, 0x00, 0x35, 0xea, 0x36, 0xd0, 0x00, 0x00, 0x1c,
        0x7e, 0x26, 0x66, 0x3d, 0xf7, 0x08, 0xee, 0x49, 0x2d, 0xd3, 0xc6, 0x57, 0x3c, 0xff, 0x02, 0xff, 0x06, 0x00,
        0x00, 0x00, 0x00, 0x09, 0x00, 0xa2, 0x0e, 0x10, 0xab, 0x8f, 0x83, 0x41, 0x71, 0x80, 0x00, 0xcf, 0x32, 0x74,
        0x99, 0x9d, 0xdb, 0x32, 0x56, 0x4c, 0xf7, 0x1d, 0xc0, 0xfc, 0x0f, 0xf6, 0xa4, 0xbb, 0x00, 0x00, 0x00, 0xf6,
        0x01, 0x2f, 0xba, 0xc0, 0x00, 0x00, 0xa9, 0x04, 0x42, 0x6c, 0x00, 0x00, 0x1f, 0x02, 0x90, 0x44, 0x08, 0xff,
        0x02,
    ];

    /// Three-row template, a slanted stripe of pixels ([`slanted`]).
    #[rustfmt::skip]
    const SLANTED: &[u8] = &[
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x5a, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00,
        0x00, 0x00, 0x58, 0x8b, 0x95, 0x4e, 0x41, 0xa0, 0x4a, 0x96, 0x5a, 0xa6, 0xff, 0x02,
    ];

    /// 40x16 pixels of rings; rows 4-8 are equal.
    fn rings() -> Vec<u8> {
        rows(40, 16, |x, y| {
            let y = if (4..9).contains(&y) { 4 } else { y };
            (x * x + y * y) / 22 % 2 == 1
        })
    }

    /// Pixels that repeat after 9 columns.
    fn periods(width: u32, height: u32) -> Vec<u8> {
        rows(width, height, |x, y| {
            let x = x % 9;
            ((x + 1) * (x + 7) * (y + 3)).wrapping_mul(2_654_435_761) >> 13 & 1 == 1
        })
    }

    /// 90x40 pixels: each row is the one above, shifted by one to the right, and white at both ends.
    fn slanted() -> Vec<u8> {
        rows(90, 40, |x, y| {
            (y + 45)
                .checked_sub(x)
                .is_some_and(|k| k < 12 && 0xb4d >> k & 1 == 1)
        })
    }

    fn rows(width: u32, height: u32, is_black: impl Fn(u32, u32) -> bool) -> Vec<u8> {
        let mut rows = Vec::new();
        for y in 0..height {
            for start in (0..width).step_by(8) {
                let bit = |x| u8::from(x < width && is_black(x, y)) << (start + 7 - x);
                rows.push((start..start + 8).map(bit).sum());
            }
        }
        rows
    }

    fn decoded(data: &[u8], width: u32, rows: u32) -> Result<Vec<u8>> {
        decode(&mut data.to_vec(), width, rows, &mut vec![1; 5]).map(|rows| rows.to_vec())
    }

    /// Inserts a segment between header and stripe.
    fn with(data: &[u8], segment: &[u8]) -> Vec<u8> {
        [&data[..20], segment, &data[20..]].concat()
    }

    #[test]
    fn templates_stripes_and_typical_rows_give_the_same_picture() {
        assert!(THREE.windows(2).any(|pair| pair == [0xff, 0x00]));
        for data in [THREE, TWO, RESET, NEWLEN] {
            assert_eq!(decoded(data, 40, 16).unwrap(), rings());
        }
    }

    #[test]
    fn bits_may_be_reversed() {
        let reversed: Vec<u8> = TWO.iter().map(|byte| byte.reverse_bits()).collect();
        assert_eq!(decoded(&reversed, 40, 16).unwrap(), rings());
    }

    #[test]
    fn the_adaptive_pixel_moves_within_its_row() {
        assert_eq!(decoded(MOVED, 400, 12).unwrap(), periods(400, 12));
        assert_eq!(decoded(MOVED_TWO, 600, 12).unwrap(), periods(600, 12));
    }

    #[test]
    fn the_adaptive_pixel_moves_to_rows_above() {
        assert_eq!(decoded(SLANTED, 90, 40).unwrap(), slanted());
        let moved = |left: i8, up| {
            let segment = [0xff, 0x06, 0, 0, 0, 8, left.cast_unsigned(), up];
            decoded(&with(SLANTED, &segment), 90, 40)
        };
        // all of these equal the nominal position
        for (left, up) in [(0, 0), (-2, 1), (-1, 2), (0, 3), (1, 4), (2, 5)] {
            assert_eq!(moved(left, up).unwrap(), slanted(), "{left} {up}");
        }
        for (left, up) in [(-3, 2), (1, 0), (2, 1), (0, 255), (-128, 1)] {
            assert_ne!(moved(left, up).unwrap(), slanted(), "{left} {up}");
        }
        for left in [-1, -128] {
            assert!(matches!(moved(left, 0), Err(Error::Corrupt(text)) if text.contains("right")));
        }
    }

    #[test]
    fn an_unused_prediction_table_is_skipped() {
        let mut data = with(THREE, &[0x55; 1728]);
        data[19] |= 0b110;
        assert_eq!(decoded(&data, 40, 16).unwrap(), rings());
    }

    #[test]
    fn other_sizes_are_corrupt_and_fewer_rows_are_not() {
        assert_eq!(decoded(THREE, 40, 17).unwrap(), rings());
        for (width, rows) in [(40, 15), (39, 16), (41, 16)] {
            let expected =
                format!("a JBIG image has 40x16 pixels, expected a width of {width} and at most {rows} rows");
            assert!(matches!(decoded(THREE, width, rows), Err(Error::Corrupt(text)) if text == expected));
            assert!(decoded(NEWLEN, width, rows).is_err());
        }
        let at = memchr::memmem::find(NEWLEN, &[0xff, 0x05]).unwrap();
        let more = [&NEWLEN[..at], &[0xff, 0x05, 0, 0, 0, 41], &NEWLEN[at + 6..]].concat();
        assert!(matches!(decoded(&more, 40, 50), Err(Error::Corrupt(text)) if text.contains("become 41")));
    }

    #[test]
    fn unsupported_streams_are_named() {
        let changed = |at: usize, value: u8| {
            let mut data = THREE.to_vec();
            data[at] = value;
            decoded(&data, 40, 16).unwrap_err().to_string()
        };
        let layers = "JBIG in 3 resolution layers and 1 planes is not supported";
        assert_eq!(changed(1, 2), layers);
        assert_eq!(
            changed(2, 4),
            "JBIG in 1 resolution layers and 4 planes is not supported"
        );
        assert!(changed(0, 1).starts_with("corrupt file: a JBIG header"));
        assert!(changed(15, 0).starts_with("corrupt file: a JBIG header"));
        let message = |segment| decoded(&with(THREE, segment), 40, 16).unwrap_err().to_string();
        assert!(message(&[0xff, 0x04]).ends_with("aborted by its encoder"));
        assert!(message(&[0xff, 0x01]).ends_with("marker 0x01 in a stripe of JBIG"));
        assert!(message(&[0xff, 0x07, 0xff, 0xff, 0xff, 0xff]).ends_with("ends within a stripe"));
    }

    #[test]
    fn truncated_or_damaged_streams_give_an_error_or_pixels() {
        for (data, width, rows) in [
            (THREE, 40, 16),
            (TWO, 40, 16),
            (RESET, 40, 16),
            (NEWLEN, 40, 16),
            (MOVED, 400, 12),
            (MOVED_TWO, 600, 12),
        ] {
            for end in 0..data.len() {
                let got = decoded(&data[..end], width, rows);
                // after the rows of NEWLEN follows an end marker that is not needed
                assert!(
                    matches!(got, Err(Error::Corrupt(_))) || end + 2 >= data.len(),
                    "{end}"
                );
            }
            for at in 0..data.len() {
                for bit in 0..8 {
                    let mut data = data.to_vec();
                    data[at] ^= 1 << bit;
                    match decoded(&data, width, rows) {
                        Ok(got) => assert!(got.len() <= (width.div_ceil(8) * rows) as usize),
                        Err(Error::Corrupt(_) | Error::Unsupported(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        }
    }

    #[test]
    fn declared_rows_are_limited_by_the_caller() {
        let mut data = THREE.to_vec();
        data[8..12].fill(0xff);
        assert!(matches!(decoded(&data, 40, 16), Err(Error::Corrupt(_))));
        // 1000 rows of 9 pixels, each a stripe without bytes
        let head = [0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 3, 232, 0, 0, 0, 1, 0, 0, 0, 0];
        let data = [&head[..], &[0xff, 0x02].repeat(1000)].concat();
        assert_eq!(decoded(&data, 9, 1000).unwrap().len(), 2000);
        assert!(decoded(&data[..data.len() - 2], 9, 1000).is_err());
    }
}
