//! Undoes predictors in place by summing differences along a row (TIFF 6.0 §14, TIFF Technical Note 3).

#![expect(
    clippy::indexing_slicing,
    reason = "arrays are as long as the type says; places in a row are below its length"
)]

use crate::source::tiff::input::ByteOrder;

/// Adds to each sample of `bytes` bytes (1, 2, 4 or 8) the same sample of the previous pixel, modulo its range.
/// `spare` is a scratch buffer.
pub fn sum(row: &mut [u8], channels: usize, bytes: usize, order: ByteOrder, spare: &mut Vec<u8>) {
    let big = order == ByteOrder::Big;
    match (bytes, channels) {
        (1, 1) => pixels::<1, 16>(row, spare),
        (1, 2) => pixels::<2, 32>(row, spare),
        (1, 3) => pixels::<3, 48>(row, spare),
        (1, 4) => pixels::<4, 64>(row, spare),
        (1, _) => words::<1>(row, channels, false),
        (2, _) => words::<2>(row, channels, big),
        (4, _) => words::<4>(row, channels, big),
        _ => words::<8>(row, channels, big),
    }
}

/// For floating point of `bytes` bytes: sums all bytes of the row, then joins the bytes of each sample, most
/// significant first. `spare` is a scratch buffer.
pub fn floats(row: &mut [u8], channels: usize, bytes: usize, spare: &mut Vec<u8>) {
    sum(row, channels, 1, ByteOrder::Little, spare);
    spare.clear();
    spare.extend_from_slice(row);
    let count = (row.len() / bytes.max(1)).max(1);
    for (place, plane) in spare.chunks_exact(count).enumerate() {
        for (byte, to) in plane.iter().zip(row.iter_mut().skip(place).step_by(bytes)) {
            *to = *byte;
        }
    }
}

/// Samples of `B` bytes in file order.
fn words<const B: usize>(row: &mut [u8], channels: usize, big: bool) {
    let words = row.as_chunks_mut::<B>().0;
    match (channels, big) {
        (1, false) => few::<B, 1, false>(words),
        (1, true) => few::<B, 1, true>(words),
        (3, false) => few::<B, 3, false>(words),
        (3, true) => few::<B, 3, true>(words),
        (4, false) => few::<B, 4, false>(words),
        (4, true) => few::<B, 4, true>(words),
        _ => {
            // One channel at a time, so that the sum stays in a register.
            for channel in 0..channels.min(words.len()) {
                let mut before = 0;
                for word in words[channel..].iter_mut().step_by(channels) {
                    step(word, &mut before, big);
                }
            }
        }
    }
}

/// Pixels of `N` channels.
fn few<const B: usize, const N: usize, const BIG: bool>(words: &mut [[u8; B]]) {
    let mut before = [0; N];
    for pixel in words.as_chunks_mut::<N>().0 {
        for (word, before) in pixel.iter_mut().zip(&mut before) {
            step(word, before, BIG);
        }
    }
}

#[inline(always)]
fn step<const B: usize>(word: &mut [u8; B], before: &mut u64, big: bool) {
    let mut whole = [0; 8];
    whole[..B].copy_from_slice(word);
    if big {
        whole[..B].reverse();
    }
    *before = before.wrapping_add(u64::from_le_bytes(whole));
    whole = before.to_le_bytes();
    if big {
        whole[..B].reverse();
    }
    word.copy_from_slice(&whole[..B]);
}

/// Sums bytes of `N` channels; `B` is the bytes of 16 pixels. Computes the sum of the four pixels up to each, then
/// from four such sums that of 16 pixels, to which the preceding 16 results are added: every step works on many bytes
/// at once.
fn pixels<const N: usize, const B: usize>(row: &mut [u8], spare: &mut Vec<u8>) {
    let pad = 12 * N;
    let len = pad + row.len();
    if spare.len() < len {
        spare.resize(len, 0);
    }
    let spare = &mut spare[..len];
    spare[..pad].fill(0);

    let four = &mut spare[pad..];
    let head = row.len().min(3 * N);
    for (at, to) in four.iter_mut().enumerate().take(head) {
        let steps = (0..=at).rev().step_by(N);
        *to = steps.fold(0, |sum, at| sum.wrapping_add(row[at]));
    }
    if head < row.len() {
        let taps = row[3 * N..].iter().zip(&row[2 * N..]).zip(&row[N..]).zip(&*row);
        for (to, (((a, b), c), d)) in four[3 * N..].iter_mut().zip(taps) {
            *to = a.wrapping_add(*b).wrapping_add(c.wrapping_add(*d));
        }
    }

    let mut before = [0; B];
    let (blocks, rest) = row.as_chunks_mut::<B>();
    let done = blocks.len() * B;
    for (index, block) in blocks.iter_mut().enumerate() {
        let tap = |tap: usize| spare[index * B + tap * 4 * N..].first_chunk::<B>();
        let (Some(a), Some(b), Some(c), Some(d)) = (tap(0), tap(1), tap(2), tap(3)) else {
            break;
        };
        let sum = |i: usize| a[i].wrapping_add(b[i]).wrapping_add(c[i].wrapping_add(d[i]));
        *block = std::array::from_fn(|i| sum(i).wrapping_add(before[i]));
        before = *block;
    }
    for (i, (to, before)) in rest.iter_mut().zip(before).enumerate() {
        let taps = spare[done + i..].iter().step_by(4 * N).take(4);
        *to = taps.fold(before, |sum, tap| sum.wrapping_add(*tap));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect()
    }

    #[test]
    fn bytes_are_summed_by_row_and_channel_at_any_length() {
        for channels in 1..=6 {
            for width in [0, 1, 2, 3, 4, 5, 7, 15, 16, 17, 31, 64, 100] {
                let mut row = noise(width * channels);
                let mut sums = row.clone();
                for i in channels..sums.len() {
                    sums[i] = sums[i].wrapping_add(sums[i - channels]);
                }
                sum(&mut row, channels, 1, ByteOrder::Big, &mut vec![9; 7]);
                assert_eq!(row, sums, "{channels} channels, {width} pixels");
            }
        }
    }

    #[test]
    fn wider_samples_are_summed_in_both_byte_orders() {
        // 16 bits: 255 + 2 carries into the next byte; 65535 + 2 wraps.
        let mut little = vec![0xff, 0, 0xff, 0xff, 2, 0, 2, 0];
        sum(&mut little, 2, 2, ByteOrder::Little, &mut Vec::new());
        assert_eq!(little, [0xff, 0, 0xff, 0xff, 1, 1, 1, 0]);
        let mut big = vec![0, 0xff, 0xff, 0xff, 0, 2, 0, 2];
        sum(&mut big, 2, 2, ByteOrder::Big, &mut Vec::new());
        assert_eq!(big, [0, 0xff, 0xff, 0xff, 1, 1, 0, 1]);
        for bytes in [4, 8] {
            let value = |v: u64, order: ByteOrder| match order {
                ByteOrder::Little => v.to_le_bytes()[..bytes].to_vec(),
                ByteOrder::Big => v.to_be_bytes()[8 - bytes..].to_vec(),
            };
            for order in [ByteOrder::Little, ByteOrder::Big] {
                let mut row = [value(0x00ff_ffff, order), value(1, order), value(5, order)].concat();
                sum(&mut row, 1, bytes, order, &mut Vec::new());
                let sums = [0x00ff_ffff, 0x0100_0000, 0x0100_0005].map(|v| value(v, order));
                assert_eq!(row, sums.concat(), "{bytes} {order:?}");
            }
        }
    }

    #[test]
    fn floating_point_is_restored() {
        let values = [1.5f32, -2.25, 1000.0, 0.1, 3e-9, f32::MAX];
        for channels in [1, 2, 3] {
            let bytes: Vec<[u8; 4]> = values.iter().map(|v| v.to_be_bytes()).collect();
            let mut row: Vec<u8> = (0..4)
                .flat_map(|place| bytes.iter().map(move |b| b[place]))
                .collect();
            for i in (channels..row.len()).rev() {
                row[i] = row[i].wrapping_sub(row[i - channels]);
            }
            floats(&mut row, channels, 4, &mut Vec::new());
            assert_eq!(row, bytes.concat(), "{channels}");
        }
    }
}
