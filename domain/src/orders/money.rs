//! Amounts of money: exact decimals with a currency, written as text so that no reader makes a
//! binary fraction of them.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Most digits before the point.
const MAX_WHOLE: usize = 9;
/// Most digits behind it; currencies have at most three, unit prices sometimes one more.
const MAX_FRACTION: usize = 4;

/// The price of one piece: at most 9 digits before the point and 4 behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Price(Decimal);

/// An ISO 4217 code: three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// A sum in some currency; a sum is never rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Money(Decimal);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    #[error(
        "a price has 1 to {MAX_WHOLE} digits, and 1 to {MAX_FRACTION} behind a point if there is one"
    )]
    Price,
    #[error("a currency is three capital letters (ISO 4217)")]
    Currency,
}

impl Price {
    /// Reads `12`, `12.5` or `12.50`; no sign, no exponent, no grouping.
    pub fn parse(text: &str) -> Result<Self, InvalidMoney> {
        let digits = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let plain = match text.split_once('.') {
            None => digits(text, MAX_WHOLE),
            Some((whole, fraction)) => digits(whole, MAX_WHOLE) && digits(fraction, MAX_FRACTION),
        };
        let amount = text.parse().ok().filter(|_| plain);
        amount.map(Self).ok_or(InvalidMoney::Price)
    }

    /// What so many pieces cost.
    pub fn times(self, quantity: u32) -> Money {
        Money(self.0.saturating_mul(Decimal::from(quantity)))
    }
}

impl Money {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Currency {
    pub fn parse(text: &str) -> Result<Self, InvalidMoney> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_length| InvalidMoney::Currency)?;
        if code.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(code))
        } else {
            Err(InvalidMoney::Currency)
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl TryFrom<String> for Price {
    type Error = InvalidMoney;

    fn try_from(text: String) -> Result<Self, InvalidMoney> {
        Self::parse(&text)
    }
}

impl From<Price> for String {
    fn from(price: Price) -> Self {
        price.to_string()
    }
}

impl TryFrom<String> for Currency {
    type Error = InvalidMoney;

    fn try_from(text: String) -> Result<Self, InvalidMoney> {
        Self::parse(&text)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl TryFrom<String> for Money {
    type Error = rust_decimal::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<Money> for String {
    fn from(money: Money) -> Self {
        money.to_string()
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_plain_decimal() {
        for text in ["0", "9.90", "999999999.9999", "0.0001", "00.5"] {
            assert!(Price::parse(text).is_ok(), "{text}");
        }
        for text in
            ["", "-1", "+1", "1e3", "1,5", ".5", "5.", "1.2.3", "0.00001", "1000000000", "٣"]
        {
            assert!(Price::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sums_are_exact_and_keep_their_cents() {
        let price = |text| Price::parse(text).unwrap();
        let sum = price("0.10").times(3).plus(price("9.90").times(1));
        assert_eq!(sum.to_string(), "10.20");
        assert_eq!(serde_json::to_string(&sum).unwrap(), r#""10.20""#);
    }

    #[test]
    fn a_currency_is_three_capitals() {
        assert_eq!(Currency::parse("EUR").unwrap().as_str(), "EUR");
        for text in ["", "eur", "EURO", "E1R", "€"] {
            assert!(Currency::parse(text).is_err(), "{text}");
        }
    }
}
