//! Exact sums. The sum of doubles depends on their order, and a rebuild adds in batches of another size;
//! so what is added up are decimal numbers. The decimal number of a double is one of few digits that is
//! nearest to this double and to no other, as it is printed: that of 0.1 is a tenth. The mean of such
//! numbers lies between the smallest and the largest, and so does the double nearest to it.

use std::fmt;

/// A decimal number: the mantissa times ten to the power of the exponent.
type Decimal = (i128, i32);

/// An exact sum of any finite doubles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Sum {
    /// Most often all of the sum.
    part: Decimal,
    /// Parts whose exponents are too far from that of `part` and of each other to be added to it.
    others: Vec<Decimal>,
}

impl Sum {
    pub(super) fn of(value: f64) -> Self {
        Self { part: decimal(value), others: Vec::new() }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for decimal in std::iter::once(&other.part).chain(&other.others) {
            self.add_decimal(*decimal);
        }
    }

    fn add_decimal(&mut self, added: Decimal) {
        for part in std::iter::once(&mut self.part).chain(&mut self.others) {
            if let Some(sum) = exact_sum(*part, added) {
                *part = sum;
                return;
            }
        }
        self.others.push(added);
    }
}

/// Decimal numbers as Postgres reads them, separated by spaces; most often one.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mantissa, exponent) = self.part;
        write!(f, "{mantissa}e{exponent}")?;
        self.others.iter().try_for_each(|(mantissa, exponent)| write!(f, " {mantissa}e{exponent}"))
    }
}

/// Returns the sum if 128 bits hold it.
fn exact_sum(a: Decimal, b: Decimal) -> Option<Decimal> {
    let (large, small) = if a.1 >= b.1 { (a, b) } else { (b, a) };
    if large.0 == 0 || small.0 == 0 {
        return Some(if large.0 == 0 { small } else { large });
    }
    let ten = 10_i128.checked_pow(u32::try_from(large.1 - small.1).ok()?)?;
    Some((large.0.checked_mul(ten)?.checked_add(small.0)?, small.1))
}

/// Powers of ten that most measured values are a whole number of.
const TENS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// Returns the decimal number of a double.
fn decimal(value: f64) -> Decimal {
    /// Of numbers of up to 15 digits, no two are nearest to the same double.
    const DISTINCT: f64 = 1e15;
    for (digits, ten) in (0..).zip(TENS) {
        let scaled = value * ten;
        if scaled.abs() < DISTINCT
            && scaled.fract() == 0.0
            && (scaled / ten).total_cmp(&value).is_eq()
        {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and below 10^15")]
            return (scaled as i128, -digits);
        }
    }
    // The shortest digits that are read as this double: `2.5e-10`.
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [before, after].concat().parse().unwrap_or_default();
    let exponent: i32 = exponent.parse().unwrap_or_default();
    (digits, exponent - i32::try_from(after.len()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Digits of the sum, as a fixed number of decimal places, to compare sums of other parts.
    fn digits(sum: &Sum) -> Vec<i32> {
        const PLACES: usize = 700;
        const ORIGIN: i32 = 360;
        let mut digits = vec![0_i128; PLACES];
        for (mantissa, exponent) in std::iter::once(&sum.part).chain(&sum.others) {
            let (mut rest, mut place) = (*mantissa, usize::try_from(exponent + ORIGIN).unwrap());
            while rest != 0 {
                digits[place] += rest % 10;
                (rest, place) = (rest / 10, place + 1);
            }
        }
        for place in 0..PLACES - 1 {
            let carry = digits[place].div_euclid(10);
            digits[place] = digits[place].rem_euclid(10);
            digits[place + 1] += carry;
        }
        digits.into_iter().map(|digit| i32::try_from(digit).unwrap()).collect()
    }

    fn sum(values: &[f64]) -> Sum {
        let mut sum = Sum::of(0.0);
        for value in values {
            sum.add(&Sum::of(*value));
        }
        sum
    }

    #[test]
    fn a_double_is_the_decimal_number_that_it_is_printed_as() {
        for (value, decimal) in [
            (21.5, "215e-1"),
            (-3.0, "-3e0"),
            (0.1, "1e-1"),
            (2.5e-10, "25e-11"),
            (f64::from(f32::MAX), "34028234663852886e22"),
            (f64::MAX, "17976931348623157e292"),
            (5e-324, "5e-324"),
            (0.1 + 0.2, "30000000000000004e-17"),
            (-0.0, "0e0"),
        ] {
            assert_eq!(Sum::of(value).to_string(), decimal);
        }
        assert_eq!(sum(&[0.1, 0.2, -0.3]).to_string(), "0e-1");
        assert_eq!(
            sum(&[1e30, 5e-324, 1e-300, -1e30]).to_string(),
            "0e30 1000000000000000000000005e-324"
        );
    }

    fn value() -> impl Strategy<Value = f64> {
        let notorious = [2.5e-10, f64::MAX, f64::MIN, f64::from(f32::MAX), 5e-324, 0.1, -0.0, 1e22];
        prop_oneof![
            proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
            proptest::sample::select(notorious.to_vec()),
            (-100_000..100_000).prop_map(|value| f64::from(value) / 1000.0),
        ]
    }

    proptest! {
        #[test]
        fn a_sum_depends_neither_on_order_nor_on_batches(
            values in prop::collection::vec(value(), 1..40), at in 0..40_usize,
        ) {
            let total = digits(&sum(&values));
            let mut turned = values.clone();
            turned.reverse();
            prop_assert_eq!(&digits(&sum(&turned)), &total);
            let (first, second) = values.split_at(at % values.len());
            let mut batches = sum(second);
            batches.add(&sum(first));
            prop_assert_eq!(&digits(&batches), &total);
        }

        #[test]
        fn the_decimal_number_of_a_double_is_read_as_this_double(value in value()) {
            let text = Sum::of(value).to_string();
            prop_assert!(text.parse::<f64>().unwrap().total_cmp(&value).is_eq() || value == 0.0, "{}", text);
        }
    }
}
