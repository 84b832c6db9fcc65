//! From the bytes of a tile, no longer coded, to samples: differences summed, channels picked, the edge cut.
//!
//! Knows no file. What a tile holds beyond the asked size is not even looked at.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::source::tiff::layout::Layout;

/// The upper left `size` of a tile that is `width` pixels wide, row by row, `layout.channels()` interleaved.
///
/// `plain` is the tile as stored and is used as a place to work in. It may end after the last wanted pixel;
/// `Error::Corrupt` when it ends before.
pub fn unpack(layout: &Layout, plain: &mut [u8], width: u32, size: Size) -> Result<Vec<u8>> {
    let line = width as usize * layout.stored;
    let row = size.w as usize * layout.stored;
    let wanted = match &layout.ycbcr {
        Some(ycbcr) => usize::try_from(ycbcr.bytes(width, size.h)).unwrap_or(usize::MAX),
        None => line * (size.h as usize).saturating_sub(1) + row,
    };
    let got = plain.len();
    let short = || Error::Corrupt(format!("a tile has {got} bytes where {wanted} are needed"));
    let plain = plain.get_mut(..wanted).ok_or_else(short)?;
    if layout.predictor {
        for row in plain.chunks_mut(line) {
            sum(row, layout.stored);
        }
    }
    if let Some(ycbcr) = &layout.ycbcr {
        return Ok(ycbcr.rgb(plain, width, size));
    }
    let mut out = Vec::with_capacity(size.w as usize * size.h as usize * layout.channels());
    for whole in plain.chunks(line) {
        pick(layout, whole.get(..row).unwrap_or(whole), &mut out);
    }
    if layout.invert {
        for grey in out.iter_mut().step_by(layout.channels()) {
            *grey = !*grey;
        }
    }
    Ok(out)
}

/// Adds to each sample the same one of the pixel before, modulo 256 (TIFF 6.0 §14).
fn sum(row: &mut [u8], channels: usize) {
    match channels {
        1 => sum_of::<1>(row),
        2 => sum_of::<2>(row),
        3 => sum_of::<3>(row),
        4 => sum_of::<4>(row),
        _ => {
            let mut before = vec![0; channels];
            for pixel in row.chunks_exact_mut(channels) {
                for (sample, before) in pixel.iter_mut().zip(&mut before) {
                    *before = sample.wrapping_add(*before);
                    *sample = *before;
                }
            }
        }
    }
}

fn sum_of<const N: usize>(row: &mut [u8]) {
    let mut before = [0u8; N];
    for pixel in row.as_chunks_mut::<N>().0 {
        for (sample, before) in pixel.iter_mut().zip(&mut before) {
            *before = sample.wrapping_add(*before);
        }
        *pixel = before;
    }
}

/// Adds the channels that are given to `out`.
fn pick(layout: &Layout, row: &[u8], out: &mut Vec<u8>) {
    if layout.channels() == layout.stored {
        out.extend_from_slice(row);
        return;
    }
    match (layout.colours, layout.stored, layout.alpha) {
        (3, 4, None) => {
            let start = out.len();
            out.resize(start + row.len() / 4 * 3, 0);
            let to = out.get_mut(start..).unwrap_or_default();
            for (to, [r, g, b, _]) in to.as_chunks_mut::<3>().0.iter_mut().zip(row.as_chunks().0) {
                *to = [*r, *g, *b];
            }
        }
        (colours, stored, alpha) => {
            for pixel in row.chunks_exact(stored) {
                out.extend_from_slice(pixel.get(..colours).unwrap_or(pixel));
                out.extend(alpha.and_then(|(sample, _)| pixel.get(sample)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Alpha;
    use crate::source::tiff::layout::Compression;

    fn layout(stored: usize, colours: usize) -> Layout {
        Layout {
            compression: Compression::None,
            predictor: false,
            stored,
            colours,
            alpha: None,
            invert: false,
            ycbcr: None,
            jpeg_ycbcr: false,
        }
    }

    #[test]
    fn differences_are_summed_along_each_row_and_channel() {
        for channels in 1..=6 {
            let layout = Layout {
                predictor: true,
                ..layout(channels, channels)
            };
            let line = 5 * channels;
            let mut plain: Vec<u8> = (0..2 * line).map(|i| (i * 71) as u8).collect();
            let mut sums = plain.clone();
            for i in 0..sums.len() {
                if i % line >= channels {
                    sums[i] = sums[i].wrapping_add(sums[i - channels]);
                }
            }
            let got = unpack(&layout, &mut plain, 5, Size::new(3, 2));
            let rows = [&sums[..3 * channels], &sums[line..line + 3 * channels]];
            assert_eq!(got.unwrap(), rows.concat());
        }
    }

    #[test]
    fn the_edge_is_cut_and_bytes_behind_it_need_not_be_there() {
        let mut plain: Vec<u8> = (0..12).collect();
        let got = unpack(&layout(1, 1), &mut plain, 4, Size::new(2, 3)).unwrap();
        assert_eq!(got, [0, 1, 4, 5, 8, 9]);
        let got = unpack(&layout(1, 1), &mut plain[..10], 4, Size::new(2, 3)).unwrap();
        assert_eq!(got, [0, 1, 4, 5, 8, 9]);
        assert!(matches!(
            unpack(&layout(1, 1), &mut plain[..9], 4, Size::new(2, 3)),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn extra_channels_are_dropped_and_alpha_is_found() {
        let mut plain: Vec<u8> = (0..10).collect();
        let got = unpack(&layout(5, 3), &mut plain, 2, Size::new(2, 1)).unwrap();
        assert_eq!(got, [0, 1, 2, 5, 6, 7]);
        let alpha = Layout {
            alpha: Some((4, Alpha::Straight)),
            ..layout(5, 3)
        };
        let got = unpack(&alpha, &mut plain, 2, Size::new(2, 1)).unwrap();
        assert_eq!(got, [0, 1, 2, 4, 5, 6, 7, 9]);
        let got = unpack(&layout(4, 3), &mut plain[..8], 2, Size::new(2, 1)).unwrap();
        assert_eq!(got, [0, 1, 2, 4, 5, 6]);
    }

    #[test]
    fn white_at_zero_is_turned_round_but_alpha_is_not() {
        let grey = Layout {
            invert: true,
            ..layout(1, 1)
        };
        assert_eq!(
            unpack(&grey, &mut [0, 100, 255], 3, Size::new(3, 1)).unwrap(),
            [255, 155, 0]
        );
        let alpha = Layout {
            invert: true,
            alpha: Some((1, Alpha::Straight)),
            ..layout(2, 1)
        };
        assert_eq!(
            unpack(&alpha, &mut [0, 9, 255, 8], 2, Size::new(2, 1)).unwrap(),
            [255, 9, 0, 8]
        );
    }
}
