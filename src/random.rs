//! Reproducible pseudo-random numbers for tests (xorshift; Marsaglia, 2003).

/// A generator with a period of 2^64 − 1.
pub struct Random(u64);

impl Random {
    /// Any seed.
    pub fn new(seed: u64) -> Random {
        Random(seed << 1 | 1)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        (self.next() >> 32) as u32 % end.max(1)
    }

    /// `len` bytes. One in `share` is 0xFF, which begins markers in JPEG and JPEG 2000.
    pub fn bytes(&mut self, len: u32, share: u32) -> Vec<u8> {
        let mut byte = |_| match self.below(share) {
            0 => 0xFF,
            _ => self.next() as u8,
        };
        (0..len).map(&mut byte).collect()
    }
}
