//! Pseudo-random numbers for tests, the same each time (xorshift; Marsaglia, 2003).

/// A generator that never gives the same state twice in a test.
pub struct Random(u64);

impl Random {
    /// Any seed.
    pub fn new(seed: u64) -> Random {
        Random(seed << 1 | 1)
    }

    /// 64 bits.
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

    /// `len` bytes, of which one in `share` is 0xFF, where JPEG and JPEG 2000 put markers.
    pub fn bytes(&mut self, len: u32, share: u32) -> Vec<u8> {
        let mut byte = |_| match self.below(share) {
            0 => 0xFF,
            _ => self.next() as u8,
        };
        (0..len).map(&mut byte).collect()
    }
}
