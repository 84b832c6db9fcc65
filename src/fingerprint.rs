//! Fingerprints of values, for cache keys, entity tags and versions.

use std::hash::Hash;
use std::hash::Hasher;
use twox_hash::XxHash64;

/// A 64-bit hash. Equal values have equal fingerprints in every process of this version, whatever the compiler and the
/// machine.
pub fn of(value: &impl Hash) -> u64 {
    let mut hasher = Fixed(XxHash64::with_seed(0));
    value.hash(&mut hasher);
    hasher.finish()
}

/// XXH64 over numbers of fixed byte order and width.
struct Fixed(XxHash64);

impl Hasher for Fixed {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn write_u16(&mut self, number: u16) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.0.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Hash)]
    enum Thing {
        Text(&'static str),
        Numbers(u8, i16, Option<u64>, usize),
    }

    #[test]
    fn a_fingerprint_is_the_same_for_ever() {
        // those of other builds are in caches that servers share, and in browsers
        let all = [
            of(&()),
            of(&Thing::Text("abc")),
            of(&Thing::Numbers(1, -2, Some(3), 4)),
            of(&(vec![1u8, 2, 3], [4u32, 5])),
        ];
        let wanted = [
            // XXH64 of nothing
            0xEF46_DB37_51D8_E999,
            0x7A74_EC0D_9CFF_ADAF,
            0x64C7_C74B_3399_4B60,
            0x05C9_B6B1_89A1_5951,
        ];
        assert_eq!(all, wanted);
    }
}
