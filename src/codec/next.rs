//! NeXT's coding of 2-bit grey: decodes bytes to rows of 2-bit pixels, most significant bits first.
//!
//! The first byte of each row selects its coding.

/// The row follows as bytes.
const ROW: u8 = 0x00;
/// An offset and a length, two bytes each, and that many bytes follow; the rest is white.
const SPAN: u8 = 0x40;

/// Decodes rows of `width` pixels into `out`, which holds whole rows; returns the number of bytes filled.
///
/// A shorter stream gives the rows that it has; a longer one is cut.
pub fn decode(mut data: &[u8], width: u32, out: &mut [u8]) -> usize {
    let line = (width as usize).div_ceil(4).max(1);
    let mut done = 0;
    for row in out.chunks_exact_mut(line) {
        row.fill(0xff);
        let Some(rest) = next(data, width, row) else {
            break;
        };
        data = rest;
        done += row.len();
    }
    done
}

/// Decodes a row at the start of `data` into `row`, which is white; returns the rest.
fn next<'a>(data: &'a [u8], width: u32, row: &mut [u8]) -> Option<&'a [u8]> {
    let (head, mut rest) = data.split_first()?;
    match *head {
        ROW => {
            let (bytes, rest) = rest.split_at_checked(row.len())?;
            row.copy_from_slice(bytes);
            Some(rest)
        }
        SPAN => {
            let (&[a, b, c, d], rest) = rest.split_first_chunk()?;
            let start = usize::from(u16::from_be_bytes([a, b]));
            let (bytes, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([c, d])))?;
            row.get_mut(start..start + bytes.len())?.copy_from_slice(bytes);
            Some(rest)
        }
        mut run => {
            // runs: the shade in the upper two bits, the number of pixels in the others
            let mut at = 0;
            loop {
                let end = (at + u32::from(run & 0x3f)).min(width);
                for pixel in at..end {
                    let shift = 6 - pixel % 4 * 2;
                    let byte = row.get_mut(pixel as usize / 4)?;
                    *byte = *byte & !(3 << shift) | (run >> 6) << shift;
                }
                at = end;
                if at == width {
                    return Some(rest);
                }
                (run, rest) = rest.split_first().map(|(run, rest)| (*run, rest))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_runs_spans_or_bytes_and_end_with_the_stream() {
        // black 3, grey 2; a byte after one of white; two bytes
        let data = [0x03, 0x82, 0x40, 0, 1, 0, 1, 0x1b, 0x00, 0x12, 0x34, 0xc2];
        let mut out = [7; 10];
        assert_eq!(decode(&data, 5, &mut out), 6);
        assert_eq!(out[..6], [0b0000_0010, 0b1011_1111, 0xff, 0x1b, 0x12, 0x34]);
        assert_eq!(decode(&[0xff], 5, &mut out), 2);
        assert_eq!(decode(&[0x40, 0, 2, 0, 1, 9], 5, &mut out), 0);
        assert_eq!(decode(&[0x00, 1], 5, &mut out), 0);
        assert_eq!(decode(&[], 5, &mut out), 0);
    }
}
