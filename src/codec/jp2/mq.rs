//! The arithmetic decoder of JPEG 2000: bytes in, one binary decision per context out (T.800 Annex C).
//!
//! It cannot fail: past its end, and past a marker, a segment continues with 1 bits, as the standard requires
//! (C.3.4).

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "indices are remainders by the length of the table; casts take the lower bits of a state on purpose"
)]

use std::hint::select_unpredictable;

/// The position of the 16-bit interval in a 64-bit register; the bits below were read ahead.
const UNIT: u32 = 47;

/// The lower bound of the interval (0x8000 in the standard), in the upper half of the register.
const HALF: i32 = 0x8000 << (UNIT - 32);

/// Number of contexts; JPEG 2000 has 19.
const CONTEXTS: usize = 32;

/// The estimates, the states after a more and a less probable symbol, and whether the latter inverts the sense: T.800
/// Table C.2.
const TABLE_C2: [(u16, u8, u8, bool); 47] = [
    (0x5601, 1, 1, true),
    (0x3401, 2, 6, false),
    (0x1801, 3, 9, false),
    (0x0AC1, 4, 12, false),
    (0x0521, 5, 29, false),
    (0x0221, 38, 33, false),
    (0x5601, 7, 6, true),
    (0x5401, 8, 14, false),
    (0x4801, 9, 14, false),
    (0x3801, 10, 14, false),
    (0x3001, 11, 17, false),
    (0x2401, 12, 18, false),
    (0x1C01, 13, 20, false),
    (0x1601, 29, 21, false),
    (0x5601, 15, 14, true),
    (0x5401, 16, 14, false),
    (0x5101, 17, 15, false),
    (0x4801, 18, 16, false),
    (0x3801, 19, 17, false),
    (0x3401, 20, 18, false),
    (0x3001, 21, 19, false),
    (0x2801, 22, 19, false),
    (0x2401, 23, 20, false),
    (0x2201, 24, 21, false),
    (0x1C01, 25, 22, false),
    (0x1801, 26, 23, false),
    (0x1601, 27, 24, false),
    (0x1401, 28, 25, false),
    (0x1201, 29, 26, false),
    (0x1101, 30, 27, false),
    (0x0AC1, 31, 28, false),
    (0x09C1, 32, 29, false),
    (0x08A1, 33, 30, false),
    (0x0521, 34, 31, false),
    (0x0441, 35, 32, false),
    (0x02A1, 36, 33, false),
    (0x0221, 37, 34, false),
    (0x0141, 38, 35, false),
    (0x0111, 39, 36, false),
    (0x0085, 40, 37, false),
    (0x0049, 41, 38, false),
    (0x0025, 42, 39, false),
    (0x0015, 43, 40, false),
    (0x0009, 44, 41, false),
    (0x0005, 45, 42, false),
    (0x0001, 45, 43, false),
    (0x5601, 46, 46, false),
];

/// Each state with its successors after the more and the less probable symbol, by the number of the state: eight
/// times its row in Table C.2, plus five if the more probable symbol is 1. Bits 0 to 8 of a state are its number,
/// bits 16 to 19 the shift after the less probable symbol, and the estimate starts at `UNIT`.
static AFTER: [u64; 512] = {
    let mut after = [0; 512];
    let mut i = 0;
    while i < TABLE_C2.len() {
        let (_, more, less, turn) = TABLE_C2[i];
        let mut symbol = 0;
        while symbol < 2 {
            after[8 * i + 5 * symbol] = state(i as u8, symbol);
            after[8 * i + 5 * symbol + 1] = state(more, symbol);
            after[8 * i + 5 * symbol + 2] = state(less, symbol ^ turn as usize);
            symbol += 1;
        }
        i += 1;
    }
    after
};

/// A packed state.
const fn state(row: u8, symbol: usize) -> u64 {
    let estimate = TABLE_C2[row as usize].0;
    (8 * row as usize + 5 * symbol) as u64
        | (estimate.leading_zeros() as u64) << 16
        | (estimate as u64) << UNIT
}

/// The adaptive states of all contexts, each with all its properties, so that a decision needs one lookup.
pub(super) struct Contexts([u64; CONTEXTS]);

impl Contexts {
    /// Contexts at these rows of Table C.2, with 0 as the more probable symbol; unlisted ones at row 0.
    pub(super) const fn new(rows: [u8; 19]) -> Contexts {
        let mut states = [state(0, 0); CONTEXTS];
        let mut i = 0;
        while i < rows.len() {
            states[i] = state(rows[i], 0);
            i += 1;
        }
        Contexts(states)
    }
}

/// A decoder within its segment. Small and `Copy`: a pass loads it into registers and stores it back.
#[derive(Clone, Copy)]
pub(super) struct Mq<'a> {
    data: &'a [u8],
    /// The next byte to take.
    next: usize,
    /// The interval (A in the standard) minus `HALF`: renormalised when negative.
    a: i32,
    /// The code register (C).
    c: i64,
    /// Bits in `c` below the unit; negative if bits are missing.
    ahead: i32,
}

impl<'a> Mq<'a> {
    /// Starts on the bytes of one segment (INITDEC, C.3.5).
    pub(super) fn new(data: &'a [u8]) -> Mq<'a> {
        let (c, ahead, next) = fill(data, 0, 0, -15);
        Mq {
            data,
            next,
            a: 0,
            c,
            ahead,
        }
    }

    /// Decodes one bit (DECODE, C.3.2) in the context `which`, of which the lower 5 bits count. Fast if the more
    /// probable symbol is much more likely.
    #[inline(always)]
    pub(super) fn bit(&mut self, contexts: &mut Contexts, which: u32) -> u32 {
        let slot = &mut contexts.0[which as usize % CONTEXTS];
        let state = *slot;
        let a = self.a.wrapping_sub((state >> 32) as i32);
        let c = self.c.wrapping_sub((state >> 32 << 32) as i64);
        if a >= 0 && c >= 0 {
            self.a = a;
            self.c = c;
            return state as u32 & 1;
        }
        self.fair(contexts, which)
    }

    /// Like `bit`, but faster if renormalisation is unpredictable: it has no branch for it.
    #[inline(always)]
    pub(super) fn fair(&mut self, contexts: &mut Contexts, which: u32) -> u32 {
        let slot = &mut contexts.0[which as usize % CONTEXTS];
        let state = *slot;
        let estimate = (state >> 32) as i32;
        let a = self.a.wrapping_sub(estimate);
        // Wrapping: a code that no encoder wrote may exceed its interval, by more and more.
        let c = self.c.wrapping_sub((state >> 32 << 32) as i64);
        // Selects the lower part of the interval, where the code is now negative, or the upper one.
        let lower = c < 0;
        let less = (c as u64 >> 63) as u32 ^ u32::from(a < estimate - HALF);
        let kind = less + ((c as u64 >> 32) as u32 >> 31 | a as u32 >> 31);
        *slot = AFTER[(state as u32 + kind) as usize % 512];
        let small = (a as u32 >> 31) + u32::from(a < -HALF / 2);
        let shift = select_unpredictable(lower, state as u32 >> 16, small);
        self.a = (select_unpredictable(lower, estimate, a + HALF).wrapping_shl(shift)).wrapping_sub(HALF);
        self.c = select_unpredictable(lower, self.c, c).wrapping_shl(shift);
        self.ahead -= shift as i32;
        if self.ahead < 0 {
            self.refill();
        }
        (state as u32 ^ less) & 1
    }

    /// Loads six bytes into the code, which lacks bits; usually none of them needs special treatment.
    #[inline(always)]
    fn refill(&mut self) {
        // with the previous byte, which may change the meaning of the first one
        let from = self.next.checked_sub(1).and_then(|from| self.data.get(from..));
        match from.and_then(|bytes| bytes.first_chunk().copied().map(u64::from_be_bytes)) {
            Some(eight) if !has_ff(eight) => {
                let owed = -self.ahead.clamp(-15, -1);
                self.c = self
                    .c
                    .wrapping_add(((eight << 8 >> 16) << (owed - 1)).cast_signed());
                self.ahead = 48 - owed;
                self.next += 6;
            }
            _ => (self.c, self.ahead, self.next) = fill(self.data, self.next, self.c, self.ahead),
        }
    }
}

/// Loads bytes from `next` on into the code until it is nearly full (BYTEIN, C.3.4). `ahead` is -15 to -1 before, 40
/// to 47 after. Returns the code, the new `ahead` and the new position.
#[cold]
#[inline(never)]
fn fill(data: &[u8], next: usize, c: i64, ahead: i32) -> (i64, i32, usize) {
    let after_ff = |next: usize| next.checked_sub(1).and_then(|i| data.get(i)) == Some(&0xFF);
    let ahead = ahead.clamp(-15, -1);
    let (mut c, mut ahead, mut next) = (c, ahead, next);
    while ahead < 40 {
        // After 0xFF, the top bit of a byte is a carry; above 0x8F, the pair is a marker, which ends the segment.
        let (byte, bits, step) = match data.get(next) {
            Some(&byte) if !after_ff(next) => (byte, 8, 1),
            Some(&byte) if byte <= 0x8F => (byte, 7, 1),
            _ => (0xFF, 8, 0),
        };
        next += step;
        ahead += bits;
        c = c.wrapping_add(i64::from(byte) << (UNIT as i32 - ahead));
    }
    (c, ahead, next)
}

/// Whether a byte is 0xFF.
#[inline(always)]
fn has_ff(bytes: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // in the complement, a zero byte borrows from its top bit
    let other = !bytes;
    other.wrapping_sub(ONES) & !other & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The test sequence of ITU-T T.88 Annex H.2: 256 bits in one context.
    #[test]
    fn decodes_the_test_sequence_of_the_standard() {
        let coded = [
            0x84, 0xC7, 0x3B, 0xFC, 0xE1, 0xA1, 0x43, 0x04, 0x02, 0x20, 0x00, 0x00, 0x41, 0x0D, 0xBB, 0x86,
            0xF4, 0x31, 0x7F, 0xFF, 0x88, 0xFF, 0x37, 0x47, 0x1A, 0xDB, 0x6A, 0xDF, 0xFF, 0xAC,
        ];
        let plain = [
            0x00, 0x02, 0x00, 0x51, 0x00, 0x00, 0x00, 0xC0, 0x03, 0x52, 0x87, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA,
            0x82, 0xC0, 0x20, 0x00, 0xFC, 0xD7, 0x9E, 0xF6, 0xBF, 0x7F, 0xED, 0x90, 0x4F, 0x46, 0xA3, 0xBF,
        ];
        let mut contexts = Contexts::new([0; 19]);
        let mut mq = Mq::new(&coded);
        for byte in plain {
            assert_eq!(
                (0..8).fold(0, |bits, _| bits << 1 | mq.bit(&mut contexts, 0)),
                byte
            );
        }
    }

    #[test]
    fn goes_on_past_the_end_whatever_the_bytes() {
        let mut random = Random::new(1);
        for len in 0..200 {
            // many 0xFF bytes, with valid and invalid successors
            let bytes = random.bytes(len, 4);
            let mut contexts = Contexts::new([0; 19]);
            let mut mq = Mq::new(&bytes);
            for i in 0..len * 40 + 400 {
                assert!(mq.bit(&mut contexts, i % 19) <= 1);
            }
        }
    }
}
