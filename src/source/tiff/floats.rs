//! Converts samples for which Rust has no type: floating point of 16 and 24 bits, and complex numbers (SampleFormat 5
//! and 6, tiff.h: COMPLEXINT and COMPLEXIEEEFP), as in radar data, which become their magnitude.

use crate::raster::SampleFormat;
use crate::source::tiff::input::ByteOrder;

/// The magnitude of a complex number whose real and imaginary parts are signed integers of 1, 2 or 4 bytes, or
/// floating point of 2, 4 or 8 bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "single precision is what there is"
)]
pub fn magnitude(number: &[u8], kind: SampleFormat, order: ByteOrder) -> f32 {
    let (real, imaginary) = number.split_at(number.len() / 2);
    let part = |bytes: &[u8]| {
        let value = order.number(bytes, 8);
        match (kind, bytes.len()) {
            (SampleFormat::Float, 2) => f64::from(small(value as u32, 10, 5)),
            (SampleFormat::Float, 4) => f64::from(f32::from_bits(value as u32)),
            (SampleFormat::Float, _) => f64::from_bits(value),
            (_, len) => {
                let spare = 64 - 8 * len.clamp(1, 8);
                ((value << spare).cast_signed() >> spare) as f64
            }
        }
    };
    part(real).hypot(part(imaginary)) as f32
}

/// Converts floating point with `fraction` and `exponent` bits and a sign, in the style of IEEE 754; exact.
pub fn small(value: u32, fraction: u32, exponent: u32) -> f32 {
    let sign = value >> (fraction + exponent) & 1;
    let power = value >> fraction & ((1 << exponent) - 1);
    let part = value & ((1 << fraction) - 1);
    let bias = (1 << (exponent - 1)) - 1;
    if power == 0 {
        // Below the smallest normal number: fraction * 2^(1 - bias - fraction bits).
        let unit = f32::from_bits((128 - bias - fraction) << 23);
        #[expect(clippy::cast_precision_loss, reason = "at most 16 bits")]
        let magnitude = part as f32 * unit;
        return if sign == 1 { -magnitude } else { magnitude };
    }
    let power = if power == (1 << exponent) - 1 {
        255
    } else {
        power + 127 - bias
    };
    f32::from_bits(sign << 31 | power << 23 | part << (23 - fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_count_in_every_type_and_byte_order() {
        let order = |mut bytes: Vec<u8>, len: usize| {
            let little = magnitude(&bytes, SampleFormat::Signed, ByteOrder::Little);
            bytes.chunks_mut(len).for_each(<[u8]>::reverse);
            (little, magnitude(&bytes, SampleFormat::Signed, ByteOrder::Big))
        };
        assert_eq!(order(vec![3, 252], 1), (5.0, 5.0));
        assert_eq!(
            order([(-300i16).to_le_bytes(), 400i16.to_le_bytes()].concat(), 2),
            (500.0, 500.0)
        );
        let least = i32::MIN.to_le_bytes();
        assert_eq!(
            order([least, least].concat(), 4),
            (3_037_000_500.0, 3_037_000_500.0)
        );
        let float = |bytes: &[u8]| magnitude(bytes, SampleFormat::Float, ByteOrder::Little);
        assert_eq!(float(&[0, 0x42, 0, 0xc4]), 5.0);
        assert_eq!(float(&[3f32.to_le_bytes(), (-4f32).to_le_bytes()].concat()), 5.0);
        assert_eq!(
            float(&[3e200f64.to_le_bytes(), 4e200f64.to_le_bytes()].concat()),
            f32::INFINITY
        );
        assert_eq!(
            float(&[0.0f64.to_le_bytes(), 0.25f64.to_le_bytes()].concat()),
            0.25
        );
        assert!(float(&[f32::NAN.to_le_bytes(), 1f32.to_le_bytes()].concat()).is_nan());
    }
}
