//! Parses numbers like iipsrv: leading spaces are skipped and the number ends at the first invalid character, as in C's
//! `strtol` and `strtod`. If a separator between two numbers is missing, both are parsed from the same text.

use crate::geometry::Num;

/// A whole number at the start of a text, clamped to the range of `i64`; `None` without a digit.
pub fn int(text: &str) -> Option<i64> {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let mut value: Option<i64> = None;
    for digit in digits.bytes().take_while(u8::is_ascii_digit) {
        let so_far = value.unwrap_or(0).saturating_mul(10);
        value = Some(so_far.saturating_add(i64::from(digit - b'0')));
    }
    value.map(|value| if negative { -value } else { value })
}

/// A whole number at the start of a text, clamped to the range of `u32`; 0 without a digit, `None` if it is negative.
pub fn count(text: &str) -> Option<u32> {
    match int(text).unwrap_or(0) {
        negative if negative < 0 => None,
        value => Some(u32::try_from(value).unwrap_or(u32::MAX)),
    }
}

/// A decimal number at the start of a text; `None` without a digit, and for `nan` and `inf`.
pub fn decimal(text: &str) -> Option<Num> {
    let text = text.trim_ascii_start();
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let is = |at: usize, set: &[u8]| bytes.get(at).is_some_and(|b| set.contains(b));
    let mut end = usize::from(is(0, b"+-"));
    let before = digits(end);
    end += before;
    let mut after = 0;
    if is(end, b".") {
        after = digits(end + 1);
        end += 1 + after;
    }
    if before + after == 0 {
        return None;
    }
    if is(end, b"eE") {
        let sign = usize::from(is(end + 1, b"+-"));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    Num::parse(text.get(..end)?)
}

/// The parts before and after the first `sign`; the whole text twice without one.
pub fn cut(text: &str, sign: char) -> (&str, &str) {
    text.split_once(sign).unwrap_or((text, text))
}

/// The non-empty parts of a list.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_end_at_the_first_invalid_character() {
        for (text, value) in [
            ("150.5", Some(150)),
            (" 4", Some(4)),
            ("100px", Some(100)),
            ("-5", Some(-5)),
            ("+5", Some(5)),
            ("1e2", Some(1)),
            ("99999999999999999999", Some(i64::MAX)),
            ("", None),
            ("abc", None),
            ("-", None),
            (".5", None),
        ] {
            assert_eq!(int(text), value, "{text}");
        }
        assert_eq!(
            (count("x"), count("-1"), count("9999999999")),
            (Some(0), None, Some(u32::MAX))
        );
    }

    #[test]
    fn decimal_numbers_end_at_the_first_invalid_character() {
        for (text, value) in [
            ("1.5", Some(1.5)),
            (" 2 ", Some(2.0)),
            ("2,5", Some(2.0)),
            (".5x", Some(0.5)),
            ("5.", Some(5.0)),
            ("-1e-1,", Some(-0.1)),
            ("1e", Some(1.0)),
            ("1e+", Some(1.0)),
            ("+3", Some(3.0)),
            ("nan", None),
            ("inf", None),
            ("1e999", None),
            (".", None),
            ("", None),
            ("e5", None),
        ] {
            assert_eq!(decimal(text).map(Num::value), value, "{text}");
        }
    }

    #[test]
    fn a_text_without_the_sign_is_both_parts() {
        assert_eq!(cut("2,1,5", ','), ("2", "1,5"));
        assert_eq!(cut("2;1", ','), ("2;1", "2;1"));
        assert_eq!(list(",1,,2,").collect::<Vec<_>>(), ["1", "2"]);
    }
}
