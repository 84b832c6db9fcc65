//! The arithmetic decoder of JBIG: bytes in, one binary decision per context out (ITU-T T.82 §6.8).
//!
//! It cannot fail: after its end, a stream continues with zeros, as the standard requires.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tables have a place for every byte; contexts are remainders by their number; bytes are taken from words"
)]

/// The position of the 16-bit interval in the 64-bit register.
const UNIT: u32 = 48;

/// Number of contexts.
pub const CONTEXTS: usize = 1 << 10;

/// The size of the interval of the less probable symbol, the states after such a symbol and after a more probable
/// one, and whether the former inverts the sense: T.82 table 24.
#[rustfmt::skip]
const TABLE_24: [(u16, u8, u8, bool); 113] = [
    (0x5a1d, 1, 1, true), (0x2586, 14, 2, false), (0x1114, 16, 3, false), (0x080b, 18, 4, false),
    (0x03d8, 20, 5, false), (0x01da, 23, 6, false), (0x00e5, 25, 7, false), (0x006f, 28, 8, false),
    (0x0036, 30, 9, false), (0x001a, 33, 10, false), (0x000d, 35, 11, false), (0x0006, 9, 12, false),
    (0x0003, 10, 13, false), (0x0001, 12, 13, false), (0x5a7f, 15, 15, true), (0x3f25, 36, 16, false),
    (0x2cf2, 38, 17, false), (0x207c, 39, 18, false), (0x17b9, 40, 19, false), (0x1182, 42, 20, false),
    (0x0cef, 43, 21, false), (0x09a1, 45, 22, false), (0x072f, 46, 23, false), (0x055c, 48, 24, false),
    (0x0406, 49, 25, false), (0x0303, 51, 26, false), (0x0240, 52, 27, false), (0x01b1, 54, 28, false),
    (0x0144, 56, 29, false), (0x00f5, 57, 30, false), (0x00b7, 59, 31, false), (0x008a, 60, 32, false),
    (0x0068, 62, 33, false), (0x004e, 63, 34, false), (0x003b, 32, 35, false), (0x002c, 33, 9, false),
    (0x5ae1, 37, 37, true), (0x484c, 64, 38, false), (0x3a0d, 65, 39, false), (0x2ef1, 67, 40, false),
    (0x261f, 68, 41, false), (0x1f33, 69, 42, false), (0x19a8, 70, 43, false), (0x1518, 72, 44, false),
    (0x1177, 73, 45, false), (0x0e74, 74, 46, false), (0x0bfb, 75, 47, false), (0x09f8, 77, 48, false),
    (0x0861, 78, 49, false), (0x0706, 79, 50, false), (0x05cd, 48, 51, false), (0x04de, 50, 52, false),
    (0x040f, 50, 53, false), (0x0363, 51, 54, false), (0x02d4, 52, 55, false), (0x025c, 53, 56, false),
    (0x01f8, 54, 57, false), (0x01a4, 55, 58, false), (0x0160, 56, 59, false), (0x0125, 57, 60, false),
    (0x00f6, 58, 61, false), (0x00cb, 59, 62, false), (0x00ab, 61, 63, false), (0x008f, 61, 32, false),
    (0x5b12, 65, 65, true), (0x4d04, 80, 66, false), (0x412c, 81, 67, false), (0x37d8, 82, 68, false),
    (0x2fe8, 83, 69, false), (0x293c, 84, 70, false), (0x2379, 86, 71, false), (0x1edf, 87, 72, false),
    (0x1aa9, 87, 73, false), (0x174e, 72, 74, false), (0x1424, 72, 75, false), (0x119c, 74, 76, false),
    (0x0f6b, 74, 77, false), (0x0d51, 75, 78, false), (0x0bb6, 77, 79, false), (0x0a40, 77, 48, false),
    (0x5832, 80, 81, true), (0x4d1c, 88, 82, false), (0x438e, 89, 83, false), (0x3bdd, 90, 84, false),
    (0x34ee, 91, 85, false), (0x2eae, 92, 86, false), (0x299a, 93, 87, false), (0x2516, 86, 71, false),
    (0x5570, 88, 89, true), (0x4ca9, 95, 90, false), (0x44d9, 96, 91, false), (0x3e22, 97, 92, false),
    (0x3824, 99, 93, false), (0x32b4, 99, 94, false), (0x2e17, 93, 86, false), (0x56a8, 95, 96, true),
    (0x4f46, 101, 97, false), (0x47e5, 102, 98, false), (0x41cf, 103, 99, false), (0x3c3d, 104, 100, false),
    (0x375e, 99, 93, false), (0x5231, 105, 102, false), (0x4c0f, 106, 103, false), (0x4639, 107, 104, false),
    (0x415e, 103, 99, false), (0x5627, 105, 106, true), (0x50e7, 108, 107, false), (0x4b85, 109, 103, false),
    (0x5597, 110, 109, false), (0x504f, 111, 107, false), (0x5a10, 110, 111, true), (0x5522, 112, 109, false),
    (0x59eb, 112, 111, true),
];

/// Indexed by state, which is twice its row in table 24, plus 1 if the more probable symbol is 1: the size of the
/// less probable interval, and the states after a less and a more probable symbol.
static STATES: [(u16, u8, u8); 256] = {
    let mut states = [(0, 0, 0); 256];
    let mut at = 0;
    while at < 2 * TABLE_24.len() {
        let (size, less, more, turn) = TABLE_24[at / 2];
        let symbol = (at % 2) as u8;
        states[at] = (size, 2 * less + (symbol ^ turn as u8), 2 * more + symbol);
        at += 1;
    }
    states
};

/// The adaptive state of each context.
pub struct Contexts([u8; CONTEXTS]);

impl Contexts {
    /// The initial state: row 0, more probable symbol 0.
    pub fn new() -> Contexts {
        Contexts([0; CONTEXTS])
    }
}

/// A decoder within its stream.
pub struct Qm<'a> {
    data: &'a [u8],
    /// Size of the interval, 0x8000–0x10000 between decisions.
    size: u32,
    /// The code register: 16 bits, followed by bits that were read ahead.
    code: u64,
    /// Number of bits that were read ahead.
    ready: u32,
}

impl Qm<'_> {
    /// Starts a stream without markers, in which a zero follows each 0xff (INITDEC).
    pub fn new(data: &[u8]) -> Qm<'_> {
        let mut qm = Qm {
            data,
            size: 0x1_0000,
            code: 0,
            ready: 0,
        };
        qm.code = (0..6).fold(0, |code, _| code << 8 | u64::from(qm.byte())) << 16;
        qm.ready = 32;
        qm
    }

    /// The next byte of the stream (BYTEIN).
    #[inline]
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.data.split_first() else {
            return 0;
        };
        let stuffed = usize::from(byte == 0xff);
        self.data = rest.get(stuffed..).unwrap_or_default();
        byte
    }

    /// Decodes the next decision, 0 or 1, in a context (modulo the number of contexts) (DECODE).
    #[inline(always)]
    pub fn bit(&mut self, contexts: &mut Contexts, context: usize) -> u8 {
        let state = &mut contexts.0[context % CONTEXTS];
        let (less, after_less, after_more) = STATES[usize::from(*state)];
        let symbol = *state & 1;
        let less = u32::from(less);
        self.size -= less;
        let split = u64::from(self.size) << UNIT;
        if self.code < split {
            if self.size >= 0x8000 {
                return symbol;
            }
            // the larger of the two intervals is that of the more probable symbol
            let turned = self.size < less;
            *state = if turned { after_less } else { after_more };
            self.shift();
            symbol ^ u8::from(turned)
        } else {
            self.code -= split;
            let turned = self.size < less;
            self.size = less;
            *state = if turned { after_more } else { after_less };
            self.shift();
            symbol ^ u8::from(!turned)
        }
    }

    /// Doubles the interval until it is large enough (RENORMD).
    #[inline(always)]
    fn shift(&mut self) {
        // never 0, since no interval is
        let by = self.size.leading_zeros().saturating_sub(16);
        self.size <<= by;
        self.code <<= by;
        if self.ready < by + 16 {
            self.refill(by);
        } else {
            self.ready -= by;
        }
    }

    /// Loads more bytes below the available bits when `used` of them are consumed.
    #[inline(never)]
    fn refill(&mut self, used: u32) {
        self.ready -= used;
        while self.ready <= 40 {
            let byte = self.byte();
            self.code |= u64::from(byte) << (40 - self.ready);
            self.ready += 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The test sequence of ITU-T T.81 K.4.1, whose coder is the same: 256 bits in one context.
    #[test]
    fn decodes_the_test_sequence_of_the_standard() {
        let coded = [
            0x65, 0x5b, 0x51, 0x44, 0xf7, 0x96, 0x9d, 0x51, 0x78, 0x55, 0xbf, 0xff, 0x00, 0xfc, 0x51, 0x84,
            0xc7, 0xce, 0xf9, 0x39, 0x00, 0x28, 0x7d, 0x46, 0x70, 0x8e, 0xcb, 0xc0, 0xf6,
        ];
        let plain = [
            0x00, 0x02, 0x00, 0x51, 0x00, 0x00, 0x00, 0xc0, 0x03, 0x52, 0x87, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa,
            0x82, 0xc0, 0x20, 0x00, 0xfc, 0xd7, 0x9e, 0xf6, 0x74, 0xea, 0xab, 0xf7, 0x69, 0x7e, 0xe7, 0x4c,
        ];
        let mut contexts = Contexts::new();
        let mut qm = Qm::new(&coded);
        for byte in plain {
            let found = (0..8).fold(0, |bits, _| bits << 1 | qm.bit(&mut contexts, 0));
            assert_eq!(found, byte);
        }
    }

    #[test]
    fn every_state_is_reached_and_leads_to_another() {
        let mut reached = [false; 113];
        let mut ways = vec![0];
        while let Some(row) = ways.pop() {
            if !std::mem::replace(&mut reached[usize::from(row)], true) {
                let (size, less, more, _) = TABLE_24[usize::from(row)];
                assert!((1..0x8000).contains(&size));
                ways.extend([less, more]);
            }
        }
        assert_eq!(reached, [true; 113]);
    }

    #[test]
    fn goes_on_past_the_end_whatever_the_bytes() {
        let mut random = Random::new(1);
        for len in 0..200 {
            let bytes = random.bytes(len, 4);
            let mut contexts = Contexts::new();
            let mut qm = Qm::new(&bytes);
            for i in 0..bytes.len() * 40 + 400 {
                assert!(qm.bit(&mut contexts, i % 1500) <= 1);
            }
        }
    }
}
