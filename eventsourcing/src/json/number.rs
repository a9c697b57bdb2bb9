//! The text of JSON numbers: what it is worth, without rounding.

use serde::Serializer;

/// Longest number that is kept with its digits, in characters.
pub const MAX_NUMBER_BYTES: usize = 128;
/// Largest exponent that is kept with its digits, of either sign. Postgres writes out the zeros of a
/// larger one.
const MAX_EXPONENT: i64 = 400;

/// What is wrong with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNumber {
    /// The absolute value is larger than that of any double.
    #[error("the number is out of range: its absolute value is at most 1.8e308")]
    Range,
    /// The text is too long, or its exponent too large.
    #[error(
        "a number has at most {MAX_NUMBER_BYTES} characters and an exponent of at most {MAX_EXPONENT}"
    )]
    Digits,
    /// Neither a 64-bit integer nor a double has all of its digits.
    #[error(
        "neither a 64-bit integer nor a double holds this number with all its digits, so a schema \
         cannot judge it; send it as a text"
    )]
    Inexact,
}

/// Which numbers are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// All that JSON can write.
    Any,
    /// Those in the range of doubles.
    Finite,
    /// Those in the range of doubles whose text is short enough to be kept.
    Kept,
    /// Those that a 64-bit integer or a double holds with all their digits.
    Exact,
}

impl Numbers {
    /// Checks the text of a JSON number.
    ///
    /// # Errors
    /// Returns an error if the number is not accepted.
    pub fn check(self, text: &str) -> Result<(), InvalidNumber> {
        // Of so few digits without an exponent, no number is near the largest double.
        let is_plain = text.len() <= MAX_NUMBER_BYTES
            && !text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'e'));
        let finite = || match double(text) {
            Some(double) => Ok(double),
            None => Err(InvalidNumber::Range),
        };
        match self {
            Self::Any => Ok(()),
            Self::Finite | Self::Kept if is_plain => Ok(()),
            Self::Finite => finite().map(drop),
            Self::Kept => {
                let exponent =
                    text.split(['e', 'E']).nth(1).map_or(Some(0), |text| text.parse().ok());
                let fits = text.len() <= MAX_NUMBER_BYTES
                    && exponent.is_some_and(|exponent: i64| exponent.abs() <= MAX_EXPONENT);
                if fits { finite().map(drop) } else { Err(InvalidNumber::Digits) }
            }
            Self::Exact => {
                let double = finite()?;
                let is_integer = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
                let exact = is_integer || Decimal::of(text) == Decimal::of(&format!("{double:e}"));
                if exact { Ok(()) } else { Err(InvalidNumber::Inexact) }
            }
        }
    }
}

/// Returns the double nearest to a JSON number; `None` if the text is not a number, or is out of range.
pub fn double(text: &str) -> Option<f64> {
    // Rust reads `inf` and `nan`, too.
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    text.parse().ok().filter(|double: &f64| is_number && double.is_finite())
}

/// Returns the digits of a whole number that is written with a fraction or an exponent: `42` for `42.0`
/// and `4.2e1`. `None` for any other number, and for one of more than 20 digits.
pub fn whole(text: &str) -> Option<String> {
    const MOST_DIGITS: i64 = 20;
    if !text.contains(['.', 'e', 'E']) || double(text).is_none() {
        return None;
    }
    let Decimal { negative, digits, exponent } = Decimal::of(text)?;
    let length = i64::try_from(digits.len()).ok()?.checked_add(exponent)?;
    if exponent < 0 || length > MOST_DIGITS {
        return None;
    }
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    let zeros = "0".repeat(usize::try_from(exponent).ok()?);
    Some(format!("{}{digits}{zeros}", if negative { "-" } else { "" }))
}

/// Returns the whole number that a JSON number is, however it is written.
pub fn integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| whole(text)?.parse().ok())
}

/// Returns whether a number is a whole multiple of another one. Both are the texts of JSON numbers that a
/// 64-bit integer or a double holds with all their digits.
pub fn is_multiple(text: &str, of: &str) -> bool {
    let (Some(number), Some(of)) = (Decimal::of(text), Decimal::of(of)) else { return false };
    if number.digits.is_empty() {
        return true;
    }
    let (Ok(digits), Ok(divisor)) = (number.digits.parse::<u64>(), of.digits.parse::<u64>()) else {
        return false;
    };
    let (digits, divisor) = (u128::from(digits), u128::from(divisor));
    let shift = number.exponent - of.exponent;
    if shift >= 0 {
        // Remainders are below 2^64, and their products with ten below 2^128.
        return (0..shift).fold(digits % divisor, |remainder, _| remainder * 10 % divisor) == 0;
    }
    let ten = u32::try_from(-shift).ok().and_then(|shift| 10_u128.checked_pow(shift));
    let divisor = ten.and_then(|ten| divisor.checked_mul(ten));
    divisor.is_some_and(|divisor| digits.is_multiple_of(divisor))
}

/// Serializes a number, a whole one without a fraction: `87`, not `87.0`. For
/// `#[serde(serialize_with)]`.
///
/// # Errors
/// Returns an error of the serializer.
pub fn without_fraction<S: Serializer>(
    number: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    /// 2^53: below it, a double has every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match *number {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and far below 2^63")]
        Some(number) if number.fract() == 0.0 && number.abs() < EXACT => {
            serializer.serialize_i64(number as i64)
        }
        Some(number) => serializer.serialize_f64(number),
        None => serializer.serialize_none(),
    }
}

/// `digits` times ten to the power of `exponent`. The digits neither begin nor end with a zero, so that
/// equal numbers are equal.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads the text of a JSON number; `None` if its exponent is astronomic.
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [before, after].concat();
        let significant = all.trim_end_matches('0');
        let digits = significant.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        let shift =
            i64::try_from(after.len()).ok()? - i64::try_from(all.len() - significant.len()).ok()?;
        let exponent = exponent.parse::<i64>().ok()?.checked_sub(shift)?;
        Some(Self { negative, digits, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_may_have_a_fraction_or_an_exponent() {
        for (text, digits) in [
            ("42.0", "42"),
            ("4.2e1", "42"),
            ("4.20E+1", "42"),
            ("420e-1", "42"),
            ("-0.0", "0"),
            ("0e999", "0"),
            ("-1.5e1", "-15"),
            // Doubles have no digits left for the last one.
            ("9007199254740993.0", "9007199254740993"),
            ("-9223372036854775808.000", "-9223372036854775808"),
            ("1e19", "10000000000000000000"),
        ] {
            assert_eq!(whole(text).as_deref(), Some(digits), "{text}");
        }
        for text in ["42", "42.5", "1e-1", "1e20", "1e400", "1e99999999999999999999", "-", ""] {
            assert_eq!(whole(text), None, "{text}");
        }
        assert_eq!((integer("7"), integer("7.0"), integer("7.5")), (Some(7), Some(7), None));
        assert_eq!((integer("\"7\""), integer("9223372036854775808.0")), (None, None));
    }

    #[test]
    fn a_number_is_exact_if_an_integer_or_a_double_has_its_digits() {
        let exact = |text| Numbers::Exact.check(text).is_ok();
        for text in [
            "0.1",
            "1.10",
            "1E2",
            "-0",
            "18446744073709551615",
            "9007199254740993",
            "5e-324",
            "1.7976931348623157e308",
            "1e22",
            "0.30000000000000004",
            "-9223372036854775808",
        ] {
            assert!(exact(text), "{text}");
        }
        for text in [
            "18446744073709551616.5",
            "18446744073709551617",
            "9007199254740993.0",
            "0.1000000000000000055511151231257827",
            "1e-400",
            "3e-324",
        ] {
            assert!(!exact(text), "{text}");
        }
        assert_eq!(Numbers::Exact.check("1e309"), Err(InvalidNumber::Range));
    }

    #[test]
    fn multiples_are_found_by_digits() {
        for (number, of, expected) in [
            ("9007199254740993", "3", true),
            ("9007199254740995", "2.5", true),
            ("9007199254740993", "2.5", false),
            ("18446744073709551615", "18446744073709551615", true),
            ("19.99", "0.01", true),
            ("19.995", "0.01", false),
            ("-0.3", "0.1", true),
            ("1e308", "123456789", false),
            ("1e308", "5e-324", true),
            ("5e-324", "1e308", false),
            ("0.0", "7", true),
        ] {
            assert_eq!(is_multiple(number, of), expected, "{number} {of}");
        }
    }

    #[test]
    fn a_kept_number_is_in_range_and_of_bounded_length() {
        let check = |text: &str| Numbers::Kept.check(text);
        for text in ["89490200001234567891", "-1e308", "2.5e-10", "0e-400", "1.8e-400"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert_eq!(check("1.8e308"), Err(InvalidNumber::Range));
        for text in ["1e999", "0e-401", "0e99999999999999999999", &"1".repeat(129)] {
            assert_eq!(check(text), Err(InvalidNumber::Digits), "{text}");
        }
        assert_eq!((double("inf"), double("1e309"), double("-0.5")), (None, None, Some(-0.5)));
    }
}
