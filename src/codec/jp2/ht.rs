//! Decodes one code-block of high-throughput JPEG 2000: its segments in, its quantised coefficients out (ITU-T
//! T.814, clause 7).
//!
//! One set of passes: a clean-up pass and at most one significance and one refinement pass after it.

#![expect(
    clippy::indexing_slicing,
    reason = "indices are remainders by the length of the table, or constants below it"
)]

use crate::codec::jp2::block::SIDE;
use crate::codec::jp2::ht_bits::Bits;
use crate::codec::jp2::ht_bits::Mel;
use crate::codec::jp2::ht_bits::PLAIN;
use crate::codec::jp2::ht_bits::Plain;
use crate::codec::jp2::ht_bits::Ready;
use crate::codec::jp2::ht_bits::backward;
use crate::codec::jp2::ht_bits::forward;
use crate::codec::jp2::ht_bits::load;
use crate::codec::jp2::ht_bits::streams;
use crate::codec::jp2::ht_codes::FIRST_ROW;
use crate::codec::jp2::ht_codes::OTHER_ROWS;

/// More than this does not fit the output: bits of a magnitude in the clean-up pass and bit-planes below it.
const BITS: u32 = 30;

/// More than there are in a row.
const QUADS: usize = 1024;

/// Samples with a border of one all around fit this; at most 6156 are used, by 1024x4.
const CELLS: usize = 8192;

/// Memory that is kept from block to block. It needs no clearing in between.
pub(super) struct Scratch {
    /// What is known of each quad of the row.
    words: [u32; QUADS],
    /// For each quad the magnitudes of the samples that touch its upper left corner from above, all bits put together.
    magnitudes: [u32; QUADS],
    /// Where the samples below the last row go.
    spare: [i32; SIDE as usize],
    samples: [[u32; 4]; QUADS],
    ahead: Plain,
    back: Plain,
    cells: [u8; CELLS],
}

impl Scratch {
    /// About 70 kB.
    pub(super) fn new() -> Scratch {
        Scratch {
            words: [0; QUADS],
            magnitudes: [0; QUADS],
            spare: [0; SIDE as usize],
            samples: [[0; 4]; QUADS],
            ahead: [0; PLAIN],
            back: [0; PLAIN],
            cells: [0; CELLS],
        }
    }
}

/// Decodes a block of rows of `w` samples into `out`, as `block::decode` describes. `plane` is the bit-plane of the
/// clean-up pass. `refinement` is how many passes follow, 1 the significance pass or 2 the refinement pass too, and
/// the segment that they share. In a `causal` block the significance pass does not look into the stripe below.
///
/// Damage gives wrong values or zeros, never a failure.
pub(super) fn decode(
    w: usize,
    plane: u32,
    causal: bool,
    data: &[u8],
    refinement: Option<(u32, &[u8])>,
    scratch: &mut Scratch,
    out: &mut [i32],
) {
    let w = w.clamp(1, SIDE as usize);
    cleanup(w, plane.min(BITS), data, scratch, out);
    if let (Some((passes, data)), Some(plane)) = (refinement, plane.checked_sub(1)) {
        let Scratch {
            ahead, back, cells, ..
        } = scratch;
        mark(w, cells, out);
        if passes > 1 {
            magnitudes(w, plane, backward(data, (0, 0), 0xFF, out.len(), back), out);
        }
        significance(w, plane, causal, forward(data, 0, out.len(), ahead), cells, out);
    }
}

/// The clean-up pass (7.3): all samples, two by two, with their magnitudes and signs.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn cleanup(w: usize, plane: u32, data: &[u8], scratch: &mut Scratch, out: &mut [i32]) {
    let Scratch {
        words,
        magnitudes,
        samples,
        spare,
        ahead,
        back,
        ..
    } = scratch;
    let Some((mut magsgn, mut mel, mut vlc)) = streams(data, out.len(), ahead, back) else {
        out.fill(0);
        return;
    };
    let quads = w.div_ceil(2);
    words.iter_mut().take(quads + 1).for_each(|word| *word = 0);
    magnitudes
        .iter_mut()
        .take(quads + 1)
        .for_each(|magnitude| *magnitude = 0);
    let mut sound = true;
    for (i, rows) in out.chunks_mut(2 * w).enumerate() {
        if i == 0 {
            describe::<true>(quads, words, &mut mel, &mut vlc);
        } else if sound {
            describe::<false>(quads, words, &mut mel, &mut vlc);
        }
        sound = sound && fill(quads, BITS - plane, words, magnitudes, &mut magsgn, samples);
        if !sound {
            rows.fill(0);
            continue;
        }
        let (upper, lower) = rows.split_at_mut(w.min(rows.len()));
        let lower = if lower.is_empty() { &mut spare[..] } else { lower };
        let quads = samples.iter().zip(upper.chunks_mut(2).zip(lower.chunks_mut(2)));
        for (&[a, b, c, d], (upper, lower)) in quads {
            if let ([upper_left, upper_right], [lower_left, lower_right]) = (&mut *upper, &mut *lower) {
                (*upper_left, *upper_right) = (signed(a, plane), signed(c, plane));
                (*lower_left, *lower_right) = (signed(b, plane), signed(d, plane));
            } else if let ([upper_left, ..], [lower_left, ..]) = (upper, lower) {
                (*upper_left, *lower_left) = (signed(a, plane), signed(b, plane));
            }
        }
    }
}

/// Reads what is said of a row of quads: which samples are significant and how many bits they have.
/// In `words` come the meanings of `ht_codes`, with the excess above them; on entry those of the row above.
#[inline(always)]
fn describe<const FIRST: bool>(quads: usize, words: &mut [u32; QUADS], mel: &mut Mel, kept: &mut Bits) {
    let table = if FIRST { &FIRST_ROW } else { &OTHER_ROWS };
    let Bits { bytes, mut place } = *kept;
    let (mut left, mut above_left) = (0, 0);
    for pair in (0..quads).step_by(2) {
        // At most 38 bits for two quads.
        let mut vlc = Ready {
            bits: load(bytes, place),
            used: 0,
        };
        let mut word = |quad: usize, vlc: &mut Ready, mel: &mut Mel| {
            let above = words[quad % QUADS];
            let context = if FIRST {
                left >> 5 & 7 | left >> 4 & 1
            } else {
                let next = words[(quad + 1) % QUADS];
                (above_left >> 7 | above >> 5) & 1
                    | (left >> 5 | left >> 6) & 2
                    | (above >> 5 | next >> 3) & 4
            };
            above_left = above;
            left = 0;
            if context != 0 || mel.event() {
                left = u32::from(table[(context << 7 | vlc.peek() & 127) as usize % 1024]);
                vlc.skip(left & 7);
            }
            left
        };
        let one = word(pair, &mut vlc, mel);
        let two = if pair + 1 < quads {
            word(pair + 1, &mut vlc, mel)
        } else {
            0
        };
        let excess = if (one | two) & 8 != 0 {
            excesses::<FIRST>(one & 8 != 0, two & 8 != 0, mel, &mut vlc)
        } else {
            [0; 2]
        };
        words[pair % QUADS] = one | excess[0] << 16;
        words[(pair + 1) % QUADS] = two | excess[1] << 16;
        place += vlc.used;
    }
    kept.place = place;
}

/// Reads the magnitudes and signs of a row of quads into `samples`: 0 for what is not significant, else
/// one more than a sign in bit 0 and a magnitude less 1 above it. `magnitudes` are of the row above and become
/// those of this one. Returns whether none had more than `most` bits.
#[inline(always)]
fn fill(
    quads: usize,
    most: u32,
    words: &[u32; QUADS],
    magnitudes: &mut [u32; QUADS],
    magsgn: &mut Bits,
    samples: &mut [[u32; 4]; QUADS],
) -> bool {
    let Bits { bytes, mut place } = *magsgn;
    let mut corner = 0;
    for quad in 0..quads {
        let word = words[quad % QUADS];
        let near = magnitudes[quad % QUADS] | magnitudes[(quad + 1) % QUADS];
        let significant = word >> 4 & 15;
        // What the row above lets expect, unless the quad has but one significant sample.
        let single = significant & significant.wrapping_sub(1) == 0;
        let bits = (word >> 16) + if single { 1 } else { (near | 2).ilog2() };
        if bits > most {
            return false;
        }
        let mut ready = Ready {
            bits: load(bytes, place),
            used: 0,
        };
        let (mut values, mut magnitude) = ([0; 4], [0; 4]);
        for k in 0..4 {
            if bits > 14 {
                ready.bits = load(bytes, place + ready.used);
            }
            let on = word >> (4 + k) & 1;
            let count = (bits & on.wrapping_neg()) - (word >> (12 + k) & 1);
            let value = ready.take(count) | (word >> (8 + k) & 1) << count;
            values[k] = value + on;
            magnitude[k] = value | on;
        }
        place += ready.used;
        samples[quad % QUADS] = values;
        magnitudes[quad % QUADS] = corner | magnitude[1];
        corner = magnitude[3];
    }
    magnitudes[quads % QUADS] = corner;
    magsgn.place = place;
    true
}

/// The value of a sample as `fill` gives it.
#[inline(always)]
fn signed(sample: u32, plane: u32) -> i32 {
    let value = sample.wrapping_sub(1);
    let sign = -((value & 1) as i32);
    let magnitude = if sample == 0 { 0 } else { (value | 1) + 2 };
    ((magnitude << plane) as i32 ^ sign) - sign
}

/// How far the magnitudes of two quads exceed what was to be expected: 0 where nothing is coded.
#[inline(always)]
fn excesses<const FIRST: bool>(one: bool, two: bool, mel: &mut Mel, vlc: &mut Ready) -> [u32; 2] {
    /// By three bits: the prefix, in bits 4 and 5 how many of the bits it has, from bit 8 on how many the suffix.
    const PREFIXES: [u32; 8] = [0x535, 0x011, 0x022, 0x011, 0x133, 0x011, 0x022, 0x011];
    let prefix = |vlc: &mut Ready, coded: bool| {
        let prefix = if coded {
            PREFIXES[vlc.peek() as usize % 8]
        } else {
            0
        };
        vlc.skip(prefix >> 4 & 3);
        prefix
    };
    let both = FIRST && one && two;
    let more = if both && mel.event() { 2 } else { 0 };
    let first = prefix(vlc, one);
    let second = if both && more == 0 && first & 15 > 2 {
        1 + vlc.take(1)
    } else {
        prefix(vlc, two)
    };
    let mut excess = [more + (first & 15), more + (second & 15)];
    if (first | second) >> 8 != 0 {
        let suffixes = [vlc.take(first >> 8), vlc.take(second >> 8)];
        for (excess, suffix) in excess.iter_mut().zip(suffixes) {
            *excess += suffix + if suffix >= 28 { 4 * vlc.take(4) } else { 0 };
        }
    }
    excess
}

/// Notes which samples are significant after the clean-up pass.
fn mark(w: usize, cells: &mut [u8; CELLS], out: &[i32]) {
    let stride = w + 2;
    cells.fill(0);
    for (y, row) in out.chunks(w).enumerate() {
        for (cell, value) in cells.iter_mut().skip((y + 1) * stride + 1).zip(row) {
            *cell = u8::from(*value != 0);
        }
    }
}

/// The significance pass (7.4): samples that are not significant but have a neighbour that is; four columns of a
/// stripe at a time, and then their signs.
fn significance(
    w: usize,
    plane: u32,
    causal: bool,
    mut bits: Bits,
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

/// The refinement pass (7.5): one bit more of the samples of the clean-up pass, from the end of the segment on.
fn magnitudes(w: usize, plane: u32, mut bits: Bits, out: &mut [i32]) {
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

    const W: usize = 9;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap_or(0))
            .collect()
    }

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
            &mut Scratch::new(),
            &mut out,
        );
        out
    }

    /// A picture coded by OpenJPH 0.9.0 without wavelet; its formula is that of the tests of `block`.
    #[test]
    fn decodes_a_cleanup_pass() {
        let data = "ff72e9efe4e9f3698b389500d0c5b9737b9b7f2fdf482f78342f4ee1f04dc65b38a14508ac0761977a48e57eea001765\
            e2ece9b9a722fe0205fefbfb9bbd7281d53c23bb3881fe4caa000031b701";
        let at = |x: i32, y: i32| ((x * x * 7 + y * y * 13 + x * y * 5) / 3 + (x ^ y) * 9) % 256 - 128;
        let picture: Vec<i32> = (0..7).flat_map(|y| (0..9).map(move |x| at(x, y))).collect();
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
            assert_eq!(whole, picture.iter().map(floor).collect::<Vec<i32>>());
        }
        assert!(
            decoded(29, false, data, None).iter().all(|value| *value == 0),
            "no room for so many bits"
        );
    }

    /// Clean-up passes by OpenJPH 0.9.0, followed by random bits; the outcome is that of OpenJPEG 2.5.0.
    #[test]
    fn decodes_refining_passes() {
        let sum = |out: &[i32]| {
            out.iter().fold(0_u32, |sum, value| {
                sum.wrapping_mul(31).wrapping_add_signed(*value)
            })
        };
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
            sum(&decoded(
                1,
                false,
                data,
                Some((2, "8f8f8f9041ff6b8fa17f247f0e3e"))
            )),
            976_108_129
        );
        let data = "140040010014002012fe60afdf7f737ffaf5facb7ffd7afd65e7f31b31b501";
        assert_eq!(
            sum(&decoded(1, true, data, Some((2, "909f8f8fff7f68ee7f8f8f90ff54")))),
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
        let mut seed = 11_u32;
        let mut random = |below: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            (seed >> 8) % below
        };
        let mut scratch = Scratch::new();
        for _ in 0..3000 {
            let w = 1 + random(70) as usize;
            let mut out = vec![0; w * (1 + random(58) as usize)];
            let mut bytes = |most| -> Vec<u8> {
                let len = random(most);
                (0..len)
                    .map(|_| {
                        if random(6) == 0 {
                            0xFF
                        } else {
                            random(256).to_le_bytes()[0]
                        }
                    })
                    .collect()
            };
            let (mut data, refinement) = (bytes(3000), bytes(600));
            // A suffix that is mostly sensible.
            if let Some([.., nibble, last]) = data.get_mut(..) {
                *last = random(40).to_le_bytes()[0];
                *nibble = random(256).to_le_bytes()[0];
            }
            let plane = random(32);
            let refinement = Some((random(4), &refinement[..])).filter(|_| random(2) == 0);
            decode(
                w,
                plane,
                random(2) == 0,
                &data,
                refinement,
                &mut scratch,
                &mut out,
            );
            assert!(out.iter().all(|value| *value != i32::MIN));
        }
    }
}
