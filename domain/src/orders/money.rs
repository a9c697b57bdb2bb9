//! Amounts of money: exact decimals, serialized as text so that no client parses them into binary
//! floating point.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Maximum number of digits before the point.
const MAX_WHOLE: usize = 9;
/// Maximum number of digits after the point. Currencies have up to three; unit prices may need one
/// more.
const MAX_FRACTION: usize = 4;

/// A unit price: a decimal with at most 9 digits before the point and 4 after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Price(Decimal);

/// A currency: an ISO 4217 code of three capital letters. Parsing accepts the codes in which there can be
/// prices; deserializing, of stored codes, accepts any three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// A sum of prices in one currency; exact, never rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Money(Decimal);

/// The text is not a price or not a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    /// The text is not a price.
    #[error(
        "a price has 1 to {MAX_WHOLE} digits, optionally followed by a point and 1 to {MAX_FRACTION} digits"
    )]
    Price,
    /// The text is not a currency code.
    #[error("a currency is three capital letters (ISO 4217)")]
    Currency,
    /// ISO 4217 has no such code, or one without minor units, such as `XAU` and `XXX`.
    #[error("`{0}` is not a currency of ISO 4217 with minor units, such as EUR, JPY and BHD")]
    NotIso(Currency),
}

impl Price {
    /// Parses a price such as `12`, `12.5` or `12.50`, without sign, exponent or grouping.
    ///
    /// # Errors
    /// Returns [`InvalidMoney::Price`] if the text has another form or too many digits.
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

    /// Returns the number of digits after the point, as written.
    pub fn decimals(self) -> u32 {
        self.0.scale()
    }

    /// Returns the price of `quantity` pieces.
    pub fn times(self, quantity: u32) -> Money {
        Money(self.0.saturating_mul(Decimal::from(quantity)))
    }
}

impl Money {
    /// Returns the sum of both amounts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Currency {
    /// Parses a currency code of ISO 4217.
    ///
    /// # Errors
    /// Returns [`InvalidMoney::Currency`] if the text is not three capital letters, and
    /// [`InvalidMoney::NotIso`] if there is no such currency, or none with minor units.
    pub fn parse(text: &str) -> Result<Self, InvalidMoney> {
        let currency = Self::try_from(text.to_owned())?;
        match currency.minor_units() {
            Some(_) => Ok(currency),
            None => Err(InvalidMoney::NotIso(currency)),
        }
    }

    /// Returns the number of digits that an amount has after the point, or `None` if ISO 4217 has no
    /// such currency, or none with minor units: metals, units of account and codes for tests.
    pub fn minor_units(self) -> Option<u32> {
        let known = iso_currency::Currency::from_code(self.as_str())?;
        if known.is_special() { None } else { known.exponent().map(u32::from) }
    }

    /// Returns the code.
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
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_length| InvalidMoney::Currency)?;
        if code.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(code))
        } else {
            Err(InvalidMoney::Currency)
        }
    }
}

impl FromStr for Currency {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        Self::parse(text)
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
    fn sums_are_exact_and_keep_their_scale() {
        let price = |text| Price::parse(text).unwrap();
        let sum = price("0.10").times(3).plus(price("9.90").times(1));
        assert_eq!(sum.to_string(), "10.20");
        assert_eq!(serde_json::to_string(&sum).unwrap(), r#""10.20""#);
    }

    #[test]
    fn a_currency_is_one_of_iso_4217_with_minor_units() {
        let units = [("EUR", 2), ("JPY", 0), ("ISK", 0), ("BHD", 3), ("CLF", 4), ("UYW", 4)];
        for (text, units) in units {
            let currency = Currency::parse(text).unwrap();
            assert_eq!((currency.as_str(), currency.minor_units()), (text, Some(units)));
        }
        for text in ["", "eur", "EURO", "E1R", "€"] {
            assert_eq!(Currency::parse(text), Err(InvalidMoney::Currency), "{text}");
        }
        for text in ["ZZZ", "XXX", "XTS", "XAU", "XDR"] {
            let stored = serde_json::from_str::<Currency>(&format!("\"{text}\"")).unwrap();
            assert_eq!(Currency::parse(text), Err(InvalidMoney::NotIso(stored)), "{text}");
            assert_eq!(stored.as_str(), text, "a stored code stays readable");
        }
    }
}
