//! Functions of single samples: powers, logarithms, and the conversion to a byte.
//!
//! Branch-free, so that the compiler vectorises them.

/// Adding this to a number below 2^22 leaves the nearest integer in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// The same for numbers from 0 to 2^23.
const ROUND_BYTE: f32 = 8_388_608.0;

/// `v^exponent`, for exponents above 0; 0 if v is not above 0. Relative error below 2^-16 for exponents up to 10.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
pub fn power(values: &mut [f32], exponent: f32) {
    for v in values {
        let raised = exp2(log2(*v) * exponent);
        *v = if *v > 0.0 { raised } else { 0.0 };
    }
}

/// log(1 + 255v) / log(256): brightens values between 0 and 1, which are fixed points; 0 if v is not above 0.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
pub fn logarithm(values: &mut [f32]) {
    for v in values {
        *v = log2(1.0 + 255.0 * v.max(0.0)) / 8.0;
    }
}

/// 1 − v.
pub fn invert(values: &mut [f32]) {
    for v in values {
        *v = 1.0 - *v;
    }
}

/// v · factor.
pub fn scale(values: &mut [f32], factor: f32) {
    for v in values {
        *v *= factor;
    }
}

/// 0–1 to 0–255, rounded to the nearest; values outside are clamped, NaN becomes 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lowest byte is what is wanted"
)]
#[expect(clippy::manual_clamp, reason = "of NaN, clamp makes NaN")]
#[inline(always)]
pub fn byte(value: f32) -> u8 {
    ((value * 255.0).max(0.0).min(255.0) + ROUND_BYTE).to_bits() as u8
}

/// Converts many values to bytes.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
pub fn bytes(values: &[f32], out: &mut [u8]) {
    for (out, v) in out.iter_mut().zip(values) {
        *out = byte(*v);
    }
}

/// Logarithm to base 2 of a positive, normal number; absolute error below 2^-20.
#[expect(clippy::cast_precision_loss, reason = "an exponent has eight bits")]
#[inline(always)]
fn log2(x: f32) -> f32 {
    /// The bits of √½, where the mantissa's interval begins.
    const LEAST: u32 = 0x3f35_04f3;
    const TWO_OVER_LN_2: f32 = 2.0 * std::f32::consts::LOG2_E;
    let shifted = x.to_bits().wrapping_sub(LEAST).cast_signed();
    let exponent = shifted >> 23;
    let mantissa = f32::from_bits((shifted & 0x007f_ffff).cast_unsigned().wrapping_add(LEAST));
    // artanh series: the mantissa is between √½ and √2, so |t| is at most 0.172
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0)));
    exponent as f32 + TWO_OVER_LN_2 * t * series
}

/// 2^x; clamped to about 0 below 2^-126 and to about 2^127 above. Relative error below 2^-18.
#[inline(always)]
fn exp2(x: f32) -> f32 {
    const LN_2: f32 = std::f32::consts::LN_2;
    let x = x.clamp(-126.0, 127.0);
    let rounded = x + ROUND;
    let part = (x - (rounded - ROUND)) * LN_2;
    let series =
        1.0 + part * (1.0 + part * (0.5 + part * (1.0 / 6.0 + part * (1.0 / 24.0 + part * (1.0 / 120.0)))));
    // the integer part goes into the exponent
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()) << 23;
    f32::from_bits(series.to_bits().wrapping_add(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_and_logarithms_are_within_a_fraction_of_a_level() {
        for step in 0u16..=4096 {
            let v = f32::from(step) / 2048.0;
            for exponent in [0.1f32, 0.4545, 0.5, 1.0, 2.0, 2.2, 10.0] {
                let mut row = [v];
                power(&mut row, exponent);
                let wanted = f64::from(v).powf(f64::from(exponent));
                assert!(
                    (f64::from(row[0]) - wanted).abs() <= wanted / 65536.0,
                    "{v}^{exponent}: {} instead of {wanted}",
                    row[0]
                );
            }
            let mut row = [v];
            logarithm(&mut row);
            let wanted = (1.0 + 255.0 * f64::from(v)).log(256.0);
            assert!((f64::from(row[0]) - wanted).abs() < 1e-6);
        }
    }

    #[test]
    fn powers_of_non_positive_values_are_black() {
        let mut row = [0.0, -1.0, f32::NAN, f32::NEG_INFINITY];
        power(&mut row, 0.01);
        assert_eq!(row, [0.0; 4]);
        let mut row = [f32::INFINITY, 1e30];
        power(&mut row, 3.0);
        assert!(row.iter().all(|v| *v > 1e30));
        let mut row = [-1.0, f32::NAN];
        logarithm(&mut row);
        assert_eq!(row, [0.0; 2]);
    }

    #[test]
    fn bytes_are_rounded_and_clamped() {
        let cases = [
            (0.0, 0),
            (1.0, 255),
            (0.5, 128),
            (-3.0, 0),
            (7.0, 255),
            (f32::NAN, 0),
            (f32::INFINITY, 255),
        ];
        for (value, wanted) in cases {
            assert_eq!(byte(value), wanted, "{value}");
        }
        for level in 0..=255u8 {
            assert_eq!(byte(f32::from(level) / 255.0), level);
        }
    }
}
