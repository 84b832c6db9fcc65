//! Decodes one code-block of high-throughput JPEG 2000: its segments in, its quantised coefficients out (ITU-T
//! T.814, clause 7).
//!
//! One set of passes: a clean-up pass and at most one significance and one refinement pass after it.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "indices are remainders by the length of the table, or below it as a row has at most 512 quads; casts take the lower bits on purpose"
)]

use crate::codec::jp2::block::SIDE;
use crate::codec::jp2::ht_bits::BitCursor;
use crate::codec::jp2::ht_bits::HtReader;
use crate::codec::jp2::ht_bits::LOADED;
use crate::codec::jp2::ht_bits::Mel;
use crate::codec::jp2::ht_bits::PLAIN;
use crate::codec::jp2::ht_bits::Plain;
use crate::codec::jp2::ht_bits::backward;
use crate::codec::jp2::ht_bits::forward;
use crate::codec::jp2::ht_bits::streams;
use crate::codec::jp2::ht_codes::BEYOND;
use crate::codec::jp2::ht_codes::BOTH_SMALL;
use crate::codec::jp2::ht_codes::EXCESS;
use crate::codec::jp2::ht_codes::EXCESSES;
use crate::codec::jp2::ht_codes::FIRST_ROW;
use crate::codec::jp2::ht_codes::KNOWN;
use crate::codec::jp2::ht_codes::NEXT;
use crate::codec::jp2::ht_codes::OTHER_ROWS;
use crate::codec::jp2::ht_codes::SIGNIFICANT;
use crate::codec::jp2::ht_codes::VALUES;

/// Maximum number of magnitude bits in the clean-up pass, including bit-planes below it: more do not fit the output.
const BITS: u32 = 30;

/// At least the quads of a row (512), one before and one after. Not a power of 2: such arrays would compete for the
/// same cache lines.
const QUADS: usize = 528;

/// Samples with a border of one fit this; at most 6156 are used, by 1024x4.
const CELLS: usize = 8192;

/// Memory that is reused from block to block, without clearing.
pub(super) struct HtScratch {
    /// The table entry of each quad of the row, from index 1 on; the first and the one after the last are 0.
    words: [u32; QUADS],
    quads: Quads,
    /// The upper and the lower row of samples of the quads.
    rows: [[[i32; 2]; QUADS]; 2],
    ahead: Plain,
    back: Plain,
    cells: [u8; CELLS],
}

impl HtScratch {
    /// About 90 kB.
    pub(super) fn new() -> HtScratch {
        HtScratch {
            words: [0; QUADS],
            quads: Quads {
                contexts: [0; QUADS],
                below: [[0; QUADS]; 2],
                bits: [0; QUADS],
                ends: [0; QUADS],
                coded: [[0; 4]; QUADS],
            },
            rows: [[[0; 2]; QUADS]; 2],
            ahead: [0; PLAIN],
            back: [0; PLAIN],
            cells: [0; CELLS],
        }
    }
}

/// Intermediate values of a row of quads, computed in loops that are vectorised.
struct Quads {
    /// The contributions of the row above to the contexts.
    contexts: [u32; QUADS],
    /// The magnitudes of the lower samples of the row above, left and right, from index 1 on; the first and the one
    /// after the last are 0.
    below: [[u32; QUADS]; 2],
    /// Bits of a significant sample, including its sign.
    bits: [u32; QUADS],
    /// The end of the bits of each of the four samples, relative to the first, in one byte each.
    ends: [u32; QUADS],
    /// For each of the four samples, the stream from its first bit on.
    coded: [[u32; 4]; QUADS],
}

/// Decodes a block with rows of `w` samples into `out`, as specified by `block::decode`. `plane` is the bit-plane of
/// the clean-up pass. `refinement` is the number of passes after it (1: the significance pass, 2: also the refinement
/// pass) and the segment that they share. In a `causal` block, the significance pass ignores the stripe below.
///
/// Damage gives wrong values or zeros, never a failure.
pub(super) fn decode(
    w: usize,
    plane: u32,
    causal: bool,
    data: &[u8],
    refinement: Option<(u32, &[u8])>,
    scratch: &mut HtScratch,
    out: &mut [i32],
) {
    let w = w.clamp(1, SIDE as usize);
    cleanup(w, plane.min(BITS), data, scratch, out);
    if let (Some((passes, data)), Some(plane)) = (refinement, plane.checked_sub(1)) {
        let HtScratch {
            ahead, back, cells, ..
        } = scratch;
        mark(w, cells, out);
        if passes > 1 {
            magnitudes(w, plane, backward(data, (0, 0), 0xFF, back), out);
        }
        significance(w, plane, causal, forward(data, 0, ahead), cells, out);
    }
}

/// The clean-up pass (7.3): decodes all samples, two by two, with their magnitudes and signs.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn cleanup(w: usize, plane: u32, data: &[u8], scratch: &mut HtScratch, out: &mut [i32]) {
    let HtScratch {
        words,
        quads,
        rows: [upper, lower],
        ahead,
        back,
        ..
    } = scratch;
    let Some((mut magsgn, mut mel, vlc)) = streams(data, ahead, back) else {
        out.fill(0);
        return;
    };
    let mut vlc = HtReader::new(vlc);
    let count = w.div_ceil(2);
    words[..count + 2].fill(0);
    quads
        .below
        .iter_mut()
        .for_each(|below| below[..count + 2].fill(0));
    let mut sound = true;
    for (i, rows) in out.chunks_mut(2 * w).enumerate() {
        if i == 0 {
            describe::<true>(count, words, &mut quads.contexts, &mut mel, &mut vlc);
        } else if sound {
            describe::<false>(count, words, &mut quads.contexts, &mut mel, &mut vlc);
        }
        sound = sound && measure(&words[1..=count], quads) <= BITS - plane;
        if !sound {
            rows.fill(0);
            continue;
        }
        collect(count, quads, &mut magsgn);
        fill(&words[1..=count], plane, quads, upper, lower);
        for (row, samples) in rows.chunks_mut(w).zip([&*upper, &*lower]) {
            row.copy_from_slice(&samples.as_flattened()[..row.len()]);
        }
    }
}

/// Decodes the significance and the number of bits of a row of `count` quads. `words` holds the entries of
/// `ht_codes`, with the excess above them; on entry, those of the row above. `mel` and `stream` are the run-length
/// coded events and the variable-length codes of the clean-up pass.
#[inline(always)]
fn describe<const FIRST: bool>(
    count: usize,
    words: &mut [u32; QUADS],
    contexts: &mut [u32; QUADS],
    mel: &mut Mel,
    stream: &mut HtReader,
) {
    let table = if FIRST { &FIRST_ROW } else { &OTHER_ROWS };
    let (before, own, after) = (&words[..count], &words[1..=count], &words[2..count + 2]);
    for (i, context) in contexts[..count].iter_mut().enumerate() {
        let [before, own, after] = [before[i], own[i], after[i]].map(|word| word >> SIGNIFICANT);
        *context = ((before >> 3 | own >> 1) & 1 | (own >> 1 | after << 1) & 4) << 7;
    }
    let mut vlc = *stream;
    // the entry of the quad on the left
    let mut left = 0_u32;
    let mut word = |above: u32, vlc: &mut HtReader, mel: &mut Mel| {
        let context = (above | left >> (NEXT - 7)) & 0x380;
        left = 0;
        if context != 0 || mel.event() {
            left = table[(context | vlc.peek() & 127) as usize];
            vlc.skip(left & 63);
        }
        left
    };
    let pairs = words[1..].as_chunks_mut::<2>().0.iter_mut();
    let pairs = pairs.zip(contexts.as_chunks::<2>().0).zip((0..count).step_by(2));
    for ((words, contexts), first) in pairs {
        // at most 38 bits for two quads
        vlc.refill();
        let one = word(contexts[0], &mut vlc, mel);
        let two = if first + 1 < count {
            word(contexts[1], &mut vlc, mel)
        } else {
            0
        };
        let coded = one & EXCESS | (two & EXCESS) << 1;
        let excess = excesses::<FIRST>(coded, mel, &mut vlc);
        *words = [one | excess[0] << BEYOND, two | excess[1] << BEYOND];
    }
    *stream = vlc;
}

/// Decodes by how much the magnitudes of two quads exceed the prediction; 0 if nothing is coded. `coded` selects the
/// quads with an excess, as in [`EXCESSES`].
#[inline(always)]
fn excesses<const FIRST: bool>(coded: u32, mel: &mut Mel, vlc: &mut HtReader) -> [u32; 2] {
    let (mut kind, mut more) = (coded, 0);
    if FIRST && coded == 3 * EXCESS {
        if mel.event() {
            more = 2;
        } else {
            kind = BOTH_SMALL;
        }
    }
    let code = EXCESSES[(kind | vlc.peek() & 63) as usize % 512];
    let suffixes = vlc.peek() >> (code >> 8 & 15);
    let (first, second) = (code >> 12 & 15, code >> 16 & 15);
    let suffixes = [
        suffixes & ((1 << first) - 1),
        suffixes >> first & ((1 << second) - 1),
    ];
    vlc.skip(code & 63);
    let mut excess = [
        more + (code >> 20 & 15) + suffixes[0],
        more + (code >> 24) + suffixes[1],
    ];
    if suffixes[0].max(suffixes[1]) >= 28 {
        for (excess, suffix) in excess.iter_mut().zip(suffixes) {
            if suffix >= 28 {
                *excess += 4 * vlc.take(4);
            }
        }
    }
    excess
}

/// Computes `bits` and `ends` from the entries of a row of quads and the row above. Returns the most bits of a quad.
#[inline(always)]
fn measure(words: &[u32], quads: &mut Quads) -> u32 {
    /// Multiplying bits 0 to 3 by this moves each to its own byte.
    const SPREAD: u32 = 0x0020_4081;
    const BYTES: u32 = 0x0101_0101;
    let count = words.len();
    let [left, right] = &quads.below;
    let (before, own) = (&right[..count], &right[1..=count]);
    let (above, after) = (&left[1..=count], &left[2..count + 2]);
    let (bits, ends) = (&mut quads.bits[..count], &mut quads.ends[..count]);
    let mut most = 0;
    for i in 0..count {
        let word = words[i];
        let near = before[i] | above[i] | own[i] | after[i];
        let significant = word >> SIGNIFICANT & 15;
        // the prediction from the row above, unless the quad has only one significant sample
        let single = significant & significant.wrapping_sub(1) == 0;
        bits[i] = (word >> BEYOND) + if single { 1 } else { (near | 2).ilog2() };
        most = most.max(bits[i]);
        let spread = |four: u32| (four & 15).wrapping_mul(SPREAD) & BYTES;
        let counts = (spread(significant).wrapping_mul(bits[i])).wrapping_sub(spread(word >> KNOWN));
        ends[i] = counts.wrapping_mul(BYTES);
    }
    most
}

/// Fills `coded` for `count` quads.
#[inline(always)]
fn collect(count: usize, quads: &mut Quads, magsgn: &mut BitCursor) {
    let stream = *magsgn;
    let mut place = stream.place;
    for (coded, ends) in quads.coded.iter_mut().zip(&quads.ends).take(count) {
        let [one, two, three, all] = ends.to_le_bytes().map(u32::from);
        let starts = [0, one, two, three];
        let first = stream.load(place);
        *coded = if all <= LOADED {
            starts.map(|start| (first >> start) as u32)
        } else {
            starts.map(|start| stream.load(place + start) as u32)
        };
        place += all;
    }
    magsgn.place = place;
}

/// The samples of a row of quads, and their magnitudes in `below`.
#[inline(always)]
fn fill(
    words: &[u32],
    plane: u32,
    quads: &mut Quads,
    upper: &mut [[i32; 2]; QUADS],
    lower: &mut [[i32; 2]; QUADS],
) {
    let count = words.len();
    let [left, right] = &mut quads.below;
    let (left, right) = (&mut left[1..=count], &mut right[1..=count]);
    let (bits, coded) = (&quads.bits[..count], &quads.coded[..count]);
    let (upper, lower) = (&mut upper[..count], &mut lower[..count]);
    for i in 0..count {
        let (word, bits) = (words[i], bits[i]);
        // a sign in bit 0, and the magnitude minus 1 above it
        let value = |k: usize| {
            let bit = |from: u32| word >> from >> k & 1;
            let on = bit(SIGNIFICANT);
            let count = (bits & on.wrapping_neg()) - bit(KNOWN);
            (on, coded[i][k] & ((1 << count) - 1) | bit(VALUES) << count)
        };
        let sample = |(on, value): (u32, u32)| {
            let sign = -((value & 1) as i32);
            let magnitude = ((value | 1) + 2) & on.wrapping_neg();
            ((magnitude << plane) as i32 ^ sign) - sign
        };
        let values = [value(0), value(1), value(2), value(3)];
        upper[i] = [sample(values[0]), sample(values[2])];
        lower[i] = [sample(values[1]), sample(values[3])];
        left[i] = values[1].0 | values[1].1;
        right[i] = values[3].0 | values[3].1;
    }
}

/// Marks the samples that are significant after the clean-up pass.
fn mark(w: usize, cells: &mut [u8; CELLS], out: &[i32]) {
    let stride = w + 2;
    cells.fill(0);
    for (y, row) in out.chunks(w).enumerate() {
        for (cell, value) in cells.iter_mut().skip((y + 1) * stride + 1).zip(row) {
            *cell = u8::from(*value != 0);
        }
    }
}

/// The significance pass (7.4): samples that are not significant but have a significant neighbour; four columns of a
/// stripe at a time, followed by their signs.
fn significance(
    w: usize,
    plane: u32,
    causal: bool,
    mut bits: BitCursor,
    cells: &mut [u8; CELLS],
    out: &mut [i32],
) {
    let stride = w + 2;
    for (stripe, rows) in out.chunks_mut(4 * w).enumerate() {
        for from in (0..w).step_by(4) {
            let columns = from..w.min(from + 4);
            let mut fresh = 0_u32;
            for x in columns.clone() {
                for y in 0..rows.len() / w {
                    let at = (4 * stripe + y + 1) * stride + x + 1;
                    let row =
                        |at: usize| cells[(at - 1) % CELLS] | cells[at % CELLS] | cells[(at + 1) % CELLS];
                    let below = if causal && y == 3 { 0 } else { row(at + stride) };
                    if cells[at % CELLS] == 0 && row(at - stride) | row(at) | below != 0 && bits.bit() {
                        cells[at % CELLS] = 1;
                        fresh |= 1 << ((x - from) * 4 + y);
                    }
                }
            }
            while fresh != 0 {
                let k = fresh.trailing_zeros() as usize;
                let value = 3 << plane;
                if let Some(sample) = rows.get_mut(k % 4 * w + from + k / 4) {
                    *sample = if bits.bit() { -value } else { value };
                }
                fresh &= fresh - 1;
            }
        }
    }
}

/// The refinement pass (7.5): one more bit of the samples of the clean-up pass, read from the end of the segment.
fn magnitudes(w: usize, plane: u32, mut bits: BitCursor, out: &mut [i32]) {
    for rows in out.chunks_mut(4 * w) {
        for x in 0..w {
            for sample in rows.iter_mut().skip(x).step_by(w).filter(|sample| **sample != 0) {
                let change = if bits.bit() { 1 << plane } else { -(1 << plane) };
                *sample += sample.signum() * change;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::jp2::examples::bytes;
    use crate::codec::jp2::examples::checksum;
    use crate::codec::jp2::examples::picture;
    use crate::random::Random;

    const W: usize = 9;

    fn decoded(plane: u32, causal: bool, data: &str, refinement: Option<(u32, &str)>) -> Vec<i32> {
        let mut out = vec![i32::MIN; W * 7];
        let refinement = refinement.map(|(passes, data)| (passes, bytes(data)));
        let refinement = refinement.as_ref().map(|(passes, data)| (*passes, &data[..]));
        decode(
            W,
            plane,
            causal,
            &bytes(data),
            refinement,
            &mut HtScratch::new(),
            &mut out,
        );
        out
    }

    /// A picture coded by OpenJPH 0.9.0 without wavelet.
    #[test]
    fn decodes_a_cleanup_pass() {
        let data = "ff72e9efe4e9f3698b389500d0c5b9737b9b7f2fdf482f78342f4ee1f04dc65b38a14508ac0761977a48e57eea001765\
            e2ece9b9a722fe0205fefbfb9bbd7281d53c23bb3881fe4caa000031b701";
        for plane in [0, 5, 20] {
            let out = decoded(plane, false, data, None);
            let whole: Vec<i32> = out.iter().map(|value| (value / 2) >> plane).collect();
            let half = out
                .iter()
                .all(|value| *value == 0 || value.unsigned_abs() & ((2 << plane) - 1) == 1 << plane);
            assert!(half, "half a step of the plane is added");
            let floor = |value: &i32| {
                if *value < 0 && plane > 0 {
                    value - 1
                } else {
                    *value
                }
            };
            assert_eq!(whole, picture().iter().map(floor).collect::<Vec<i32>>());
        }
        assert!(
            decoded(29, false, data, None).iter().all(|value| *value == 0),
            "no room for so many bits"
        );
    }

    /// Clean-up passes by OpenJPH 0.9.0, followed by random bits; expected values by OpenJPEG 2.5.0.
    #[test]
    fn decodes_refining_passes() {
        #[rustfmt::skip]
        let expected = [
            -6, -3, 3, -3, 3, -6, -3, -3, -3, -6, 3, -3, -3, 3, -3, -3, -3, -3, -6, 3, 3, -3, 3, -3, -3, 0, 3, -3, 3,
            3, -3, -3, -3, -3, -3, -3, 0, -3, 3, 3, 0, -3, -3, -3, -3, 0, 0, 0, -3, -3, -3, -3, -3, 3, 0, 0, 0, 3,
            -3, -3, -3, -3, -6,
        ];
        assert_eq!(
            decoded(
                1,
                false,
                "3f9005111600",
                Some((1, "ff7f90ff7fc5ff7faa27ff7fff03"))
            ),
            expected
        );
        let data = "fdff7fff7fff7fff7f012ff7dfdc7ffbcafd657ffeb07d64df2a56559501";
        assert_eq!(
            checksum(&decoded(
                1,
                false,
                data,
                Some((2, "8f8f8f9041ff6b8fa17f247f0e3e"))
            )),
            976_108_129
        );
        let data = "140040010014002012fe60afdf7f737ffaf5facb7ffd7afd65e7f31b31b501";
        assert_eq!(
            checksum(&decoded(1, true, data, Some((2, "909f8f8fff7f68ee7f8f8f90ff54")))),
            3_302_922_595
        );
        let out = decoded(1, true, "fefd702400", Some((2, "d87f8f7f90bbf655908fff0f8f87")));
        let lower = [
            7, 3, -3, 3, -3, -3, 0, 0, 0, 0, -3, -3, 3, -3, -3, 0, 0, 0, 0, 0, -3, 3, -3, 3,
        ];
        assert!(
            out[..39].iter().all(|value| *value == 0),
            "no row looks into the stripe below"
        );
        assert_eq!(out[39..], lower);
    }

    #[test]
    fn takes_any_bytes() {
        let mut random = Random::new(11);
        let mut scratch = HtScratch::new();
        for _ in 0..3000 {
            let w = 1 + random.below(70) as usize;
            let mut out = vec![0; w * (1 + random.below(58) as usize)];
            let mut bytes = |most| {
                let len = random.below(most);
                random.bytes(len, 6)
            };
            let (mut data, refinement) = (bytes(3000), bytes(600));
            // A mostly valid suffix.
            if let Some([.., nibble, last]) = data.get_mut(..) {
                *last = random.below(40).to_le_bytes()[0];
                *nibble = random.below(256).to_le_bytes()[0];
            }
            let plane = random.below(32);
            let refinement = (random.below(2) == 0).then(|| (random.below(4), &refinement[..]));
            decode(
                w,
                plane,
                random.below(2) == 0,
                &data,
                refinement,
                &mut scratch,
                &mut out,
            );
            assert!(out.iter().all(|value| *value != i32::MIN));
        }
    }
}
