//! Coefficients of a code-block in little memory: a head, then all of them as narrow as they fit, row by row.
//!
//! Knows no block: how many they are is the caller's to know.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "values fit the width that was chosen for them; bytes are read back with their sign"
)]

use ::bytes::Bytes;

/// Bits of the head that say by how much values were shifted; above them stands the log2 of their width in half bytes.
const SHIFT: u8 = 31;

/// Values of less than 31 bits with their signs. With `whole` the lowest bit of their magnitudes is dropped. Nothing at
/// all stands for zeros.
pub fn pack(values: &[i32], whole: bool) -> Bytes {
    let dropped = u32::from(whole);
    let all = values.iter().fold(0, |all, value| all | value.unsigned_abs()) >> dropped;
    if all == 0 {
        return Bytes::new();
    }
    let shift = (all.trailing_zeros() + dropped).min(u32::from(SHIFT));
    let bits = 32 - (all >> (shift - dropped)).leading_zeros();
    let small = |value: &i32| {
        let sign = value >> 31;
        ((value.unsigned_abs() >> shift) as i32 ^ sign) - sign
    };
    let mut out = Vec::new();
    let mut start = |width: u8, len: usize| {
        out.reserve_exact(1 + len);
        out.push(shift as u8 | width << 5);
    };
    match bits {
        0..=3 => {
            start(0, values.len().div_ceil(2));
            out.extend(values.chunks(2).map(|pair| {
                let high = pair.get(1).map_or(0, small);
                pair.first().map_or(0, small) as u8 & 15 | (high as u8) << 4
            }));
        }
        4..=7 => {
            start(1, values.len());
            out.extend(values.iter().map(|value| small(value) as u8));
        }
        8..=15 => {
            start(2, values.len() * 2);
            out.extend(
                values
                    .iter()
                    .flat_map(|value| (small(value) as i16).to_ne_bytes()),
            );
        }
        _ => {
            start(3, values.len() * 4);
            out.extend(values.iter().flat_map(|value| small(value).to_ne_bytes()));
        }
    }
    out.into()
}

/// Fills `to` with the values from number `from` on; what is not there stays as it is.
pub fn unpack(packed: &[u8], from: usize, to: &mut [i32]) {
    let Some((&head, bytes)) = packed.split_first() else {
        return;
    };
    let shift = u32::from(head & SHIFT);
    match head >> 5 {
        0 => {
            let mut to = to.iter_mut();
            if from % 2 == 1
                && let (Some(to), Some(byte)) = (to.next(), bytes.get(from / 2))
            {
                *to = i32::from(*byte as i8 >> 4) << shift;
            }
            let pairs = to.into_slice().chunks_mut(2);
            for (pair, byte) in pairs.zip(bytes.iter().skip(from.div_ceil(2))) {
                let both = [(*byte << 4) as i8 >> 4, *byte as i8 >> 4];
                for (to, value) in pair.iter_mut().zip(both) {
                    *to = i32::from(value) << shift;
                }
            }
        }
        1 => {
            for (to, byte) in to.iter_mut().zip(bytes.iter().skip(from)) {
                *to = i32::from(*byte as i8) << shift;
            }
        }
        2 => {
            for (to, two) in to.iter_mut().zip(bytes.as_chunks().0.iter().skip(from)) {
                *to = i32::from(i16::from_ne_bytes(*two)) << shift;
            }
        }
        _ => {
            for (to, four) in to.iter_mut().zip(bytes.as_chunks().0.iter().skip(from)) {
                *to = i32::from_ne_bytes(*four) << shift;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_from_anywhere() {
        let mut seed = 5_u32;
        for round in 0..2000_u32 {
            let values: Vec<i32> = (0..1 + round % 70)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 17;
                    seed ^= seed << 5;
                    let magnitude = (seed >> 1 >> (round % 31)) as i32 & !0 << (round % 7);
                    if seed.is_multiple_of(2) {
                        magnitude
                    } else {
                        -magnitude
                    }
                })
                .collect();
            for whole in [false, true] {
                let packed = pack(&values, whole);
                let expected: Vec<i32> = (values.iter())
                    .map(|value| if whole { value / 2 * 2 } else { *value })
                    .collect();
                for from in 0..values.len().min(5) {
                    let mut out = vec![0; values.len() - from];
                    unpack(&packed, from, &mut out);
                    assert_eq!(out, expected[from..], "round {round}");
                }
            }
        }
    }

    #[test]
    fn small_values_take_little() {
        assert!(pack(&[0; 64], false).is_empty());
        assert!(pack(&[1, -1, 0], true).is_empty());
        assert_eq!(pack(&[7 << 20; 64], false).len(), 33);
        assert_eq!(pack(&[-127; 64], false).len(), 65);
        assert_eq!(pack(&[255; 64], true).len(), 65);
        assert_eq!(pack(&[1 << 20 | 1; 64], false).len(), 257);
    }
}
