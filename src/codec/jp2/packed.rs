//! Packs the coefficients of a code-block: a header, followed by all of them at the smallest sufficient width, row by
//! row; or only those at the edges.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "values fit the width that was chosen for them; bytes are read back with their sign"
)]

use bytes::Bytes;

/// Mask of the header for the shift of values; above it is log2 of their width in half bytes.
const SHIFT: u8 = 31;

/// The header bit for edges only.
const FRAME: u8 = 1 << 7;

/// Packs signed values of less than 31 bits. With `whole`, the lowest bit of their magnitudes is dropped. All zeros
/// are packed as nothing.
pub fn pack(values: &[i32], whole: bool) -> Bytes {
    narrowed(values, whole).into()
}

#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn narrowed(values: &[i32], whole: bool) -> Vec<u8> {
    let dropped = u32::from(whole);
    let all = values.iter().fold(0, |all, value| all | value.unsigned_abs()) >> dropped;
    if all == 0 {
        return Vec::new();
    }
    let shift = (all.trailing_zeros() + dropped).min(u32::from(SHIFT));
    let bits = 32 - (all >> (shift - dropped)).leading_zeros();
    let small = |value: &i32| {
        let sign = value >> 31;
        ((value.unsigned_abs() >> shift) as i32 ^ sign) - sign
    };
    let (width, len) = match bits {
        0..=3 => (0, values.len().div_ceil(2)),
        4..=7 => (1, values.len()),
        8..=15 => (2, values.len() * 2),
        _ => (3, values.len() * 4),
    };
    let mut out = vec![0; 1 + len];
    if let Some((head, to)) = out.split_first_mut() {
        *head = shift as u8 | width << 5;
        match width {
            0 => (to.iter_mut().zip(values.chunks(2))).for_each(|(to, pair)| {
                let high = pair.get(1).map_or(0, small);
                *to = pair.first().map_or(0, small) as u8 & 15 | (high as u8) << 4;
            }),
            1 => (to.iter_mut().zip(values)).for_each(|(to, value)| *to = small(value) as u8),
            2 => (to.as_chunks_mut().0.iter_mut().zip(values))
                .for_each(|(to, value)| *to = (small(value) as i16).to_ne_bytes()),
            _ => (to.as_chunks_mut().0.iter_mut().zip(values))
                .for_each(|(to, value)| *to = small(value).to_ne_bytes()),
        }
    }
    out
}

/// Whether only the edges are packed.
pub fn is_frame(packed: &[u8]) -> bool {
    packed.first().is_some_and(|head| head & FRAME != 0)
}

/// The edges of a block of `w * h` values: `edge` rows above and below and, between them, as many columns left and right.
#[derive(Clone, Copy)]
pub struct BlockEdges {
    pub w: usize,
    pub h: usize,
    pub edge: usize,
}

impl BlockEdges {
    /// Packs the edges of a block like [`pack`]; the whole block if the edges cover it.
    pub fn pack(self, values: &[i32], whole: bool) -> Bytes {
        let BlockEdges { w, h, edge } = self;
        if w <= 2 * edge || h <= 2 * edge || values.len() != w * h {
            return pack(values, whole);
        }
        let mut edges = Vec::with_capacity(2 * edge * (w + h - 2 * edge));
        let (above, rest) = values.split_at(edge * w);
        let (between, below) = rest.split_at(rest.len() - edge * w);
        edges.extend_from_slice(above);
        edges.extend_from_slice(below);
        for row in between.chunks_exact(w) {
            edges.extend_from_slice(row.get(..edge).unwrap_or_default());
            edges.extend_from_slice(row.get(w - edge..).unwrap_or_default());
        }
        let mut frame = narrowed(&edges, whole);
        match frame.first_mut() {
            Some(head) => *head |= FRAME,
            None => frame.push(FRAME),
        }
        frame.into()
    }

    /// The index of the value in column `x` of row `y`; if only edges are packed, it must be one of them.
    pub fn position(self, packed: &[u8], x: usize, y: usize) -> usize {
        if is_frame(packed) {
            self.within(x, y)
        } else {
            y * self.w + x
        }
    }

    fn within(self, x: usize, y: usize) -> usize {
        let BlockEdges { w, h, edge } = self;
        if y < edge {
            y * w + x
        } else if y + edge >= h {
            (y + 2 * edge).saturating_sub(h) * w + x
        } else {
            let x = if x < edge {
                x
            } else {
                (x + 2 * edge).saturating_sub(w)
            };
            2 * edge * (w + y - edge) + x
        }
    }
}

/// The part of a slice from index `from` on.
fn rest<T>(all: &[T], from: usize) -> &[T] {
    all.get(from..).unwrap_or_default()
}

/// Fills rows of `width` with the values of a block from column `x` and row `y` on, as [`BlockEdges::position`] finds them.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
pub fn unpack_rows(packed: &[u8], frame: BlockEdges, (x, y): (usize, usize), width: usize, to: &mut [i32]) {
    for (y, row) in (y..).zip(to.chunks_exact_mut(width.max(1))) {
        unpack(packed, frame.position(packed, x, y), row);
    }
}

/// Fills `to` with the values from index `from` on; the rest is unchanged.
#[inline(always)]
fn unpack(packed: &[u8], from: usize, to: &mut [i32]) {
    let Some((&head, bytes)) = packed.split_first() else {
        return;
    };
    let shift = u32::from(head & SHIFT);
    match head >> 5 & 3 {
        0 => {
            let mut to = to.iter_mut();
            if from % 2 == 1
                && let (Some(to), Some(byte)) = (to.next(), bytes.get(from / 2))
            {
                *to = i32::from(*byte as i8 >> 4) << shift;
            }
            let pairs = to.into_slice().chunks_mut(2);
            for (pair, byte) in pairs.zip(rest(bytes, from.div_ceil(2))) {
                let both = [(*byte << 4) as i8 >> 4, *byte as i8 >> 4];
                for (to, value) in pair.iter_mut().zip(both) {
                    *to = i32::from(value) << shift;
                }
            }
        }
        1 => {
            for (to, byte) in to.iter_mut().zip(rest(bytes, from)) {
                *to = i32::from(*byte as i8) << shift;
            }
        }
        2 => {
            for (to, two) in to.iter_mut().zip(rest(bytes.as_chunks().0, from)) {
                *to = i32::from(i16::from_ne_bytes(*two)) << shift;
            }
        }
        _ => {
            for (to, four) in to.iter_mut().zip(rest(bytes.as_chunks().0, from)) {
                *to = i32::from_ne_bytes(*four) << shift;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn packed_bytes_round_trip_from_any_position() {
        let mut random = Random::new(5);
        for round in 0..2000_u32 {
            let values: Vec<i32> = (0..1 + round % 70)
                .map(|_| {
                    let seed = random.next() as u32;
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
    fn edges_come_back_alone() {
        let (w, h, edge) = (9, 8, 2);
        let frame = BlockEdges { w, h, edge };
        let values: Vec<i32> = (0..72).map(|i| i * i).collect();
        let whole = pack(&values, false);
        let edges = frame.pack(&values, false);
        assert!(is_frame(&edges) && edges.len() < whole.len());
        for (i, value) in values.iter().enumerate() {
            let (x, y) = (i % w, i / w);
            if x < edge || y < edge || x + edge >= w || y + edge >= h {
                for packed in [&whole, &edges] {
                    let mut out = [0];
                    unpack(packed, frame.position(packed, x, y), &mut out);
                    assert_eq!(out, [*value], "{x},{y}");
                }
            }
        }
        // zero edges are not zero blocks
        let mut middle = vec![0; 72];
        middle[40] = 5;
        assert!(is_frame(&frame.pack(&middle, false)));
        assert!(!is_frame(&frame.pack(&[], false)), "zeros");
        assert!(!is_frame(&BlockEdges { edge: 4, ..frame }.pack(&values, false)));
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
