//! Test data for both block coders, and a checksum to compare results.

/// The 9 by 7 samples that were encoded, without level shift.
pub(super) fn picture() -> Vec<i32> {
    let at = |x: i32, y: i32| ((x * x * 7 + y * y * 13 + x * y * 5) / 3 + (x ^ y) * 9) % 256 - 128;
    (0..7).flat_map(|y| (0..9).map(move |x| at(x, y))).collect()
}

/// Decodes hexadecimal digits.
pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    (0..hex.len() / 2).map(byte).collect()
}

/// A checksum of samples.
pub(super) fn checksum(out: &[i32]) -> u32 {
    let next = |sum: u32, value: &i32| sum.wrapping_mul(31).wrapping_add_signed(*value);
    out.iter().fold(0, next)
}
