//! ThunderScan's coding of 4-bit grey: decodes bytes to rows of 4-bit pixels, most significant bits first.
//!
//! The upper two bits of each byte select its type: a run, three or two differences, or a pixel.

/// Differences for two bits; one code is no pixel at all.
const TWO: [Option<u8>; 4] = [Some(0), Some(1), None, Some(15)];
/// Differences for three bits.
const THREE: [Option<u8>; 8] = [
    Some(0),
    Some(1),
    Some(2),
    Some(3),
    None,
    Some(13),
    Some(14),
    Some(15),
];

/// Decodes rows of `width` pixels into `out`, which holds whole rows; returns the number of bytes filled.
///
/// A shorter stream gives the rows that it has; a longer one is cut.
pub fn decode(data: &[u8], width: u32, out: &mut [u8]) -> usize {
    let width = width as usize;
    let line = width.div_ceil(2).max(1);
    let mut bytes = data.iter();
    let mut done = 0;
    let mut pixels: Vec<u8> = Vec::with_capacity(width + 64);
    for row in out.chunks_exact_mut(line) {
        pixels.clear();
        while pixels.len() < width {
            let Some(&byte) = bytes.next() else {
                return done;
            };
            let last = pixels.last().copied().unwrap_or(0);
            let add = |pixels: &mut Vec<u8>, difference: Option<&Option<u8>>| {
                if let Some(Some(difference)) = difference {
                    let last = pixels.last().copied().unwrap_or(0);
                    pixels.push((last + difference) & 15);
                }
            };
            match byte >> 6 {
                0 => pixels.resize(pixels.len() + usize::from(byte), last),
                1 => {
                    for shift in [4, 2, 0] {
                        add(&mut pixels, TWO.get(usize::from(byte >> shift & 3)));
                    }
                }
                2 => {
                    for shift in [3, 0] {
                        add(&mut pixels, THREE.get(usize::from(byte >> shift & 7)));
                    }
                }
                _ => pixels.push(byte & 15),
            }
        }
        pixels.truncate(width);
        for (to, pair) in row.iter_mut().zip(pixels.chunks(2)) {
            *to = pair.iter().rev().fold(0, |byte, pixel| byte >> 4 | pixel << 4);
        }
        done += row.len();
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_runs_and_differences_come_in_rows() {
        // 9, then twice the same; +1, skipped, -1; +3, -3; and a row of its own, of which the rest is missing
        let data = [0xc9, 0x02, 0b0101_1011, 0b1001_1101, 0xc1, 0x04];
        let mut out = [7; 12];
        assert_eq!(decode(&data, 7, &mut out[..4]), 4);
        assert_eq!(out[..4], [0x99, 0x9a, 0x9c, 0x90]);
        assert_eq!(decode(&data, 7, &mut out), 4);
        // black if a row begins with a run
        assert_eq!(decode(&[0x03, 0xff], 3, &mut out), 2);
        assert_eq!(out[..2], [0, 0]);
    }
}
