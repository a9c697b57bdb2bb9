//! JSON that others wrote: the rules of every door, and values that keep names and digits.
//!
//! `serde_json::Value` replaces an object whose first member is `$serde_json::private::RawValue` by the
//! JSON text in that member, so a value that others chose would change, or fail to decode. [`Plain`]
//! keeps every name; [`Object`] also keeps digits.

mod fault;
mod number;
mod object;
mod read;
mod scan;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

pub use fault::{Fault, Reason};
pub use number::{
    InvalidNumber, MAX_NUMBER_BYTES, Numbers, double, integer, is_multiple, whole, without_fraction,
};
pub use object::Object;
pub use read::{ReadError, parse, read, without_mark};
pub use scan::{Name, Rules, Scan, check};

/// A JSON value of which every member name is data.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Plain(pub Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Decoder.deserialize(deserializer).map(Self)
    }
}

/// Decodes an object, for `#[serde(deserialize_with)]` on a `Map<String, Value>`.
///
/// # Errors
/// Returns an error if the value is not an object.
pub fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    match Plain::deserialize(deserializer)? {
        Plain(Value::Object(members)) => Ok(members),
        Plain(_) => Err(D::Error::custom("must be an object")),
    }
}

/// Decodes a value.
#[derive(Debug, Clone, Copy)]
struct Decoder;

impl<'de> DeserializeSeed<'de> for Decoder {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Decoder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            values.insert(name, members.next_value_seed(self)?);
        }
        Ok(Value::Object(values))
    }
}

/// Returns whether JSON text holds an escaped NUL: `\u0000` after an even number of backslashes.
pub fn holds_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let before = json[..at].bytes().rev().take_while(|&byte| byte == b'\\').count();
        before % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = r#"{"a":[{"$serde_json::private::RawValue":"[1"}],"b":-1.5}"#;

    #[test]
    fn a_private_name_of_serde_json_is_a_name() {
        assert!(serde_json::from_str::<Value>(PRIVATE).is_err(), "Value replaces the object");
        let Plain(value) = serde_json::from_str(PRIVATE).unwrap();
        assert_eq!(value["a"][0]["$serde_json::private::RawValue"], "[1");
        assert_eq!(serde_json::to_string(&Plain(value)).unwrap(), PRIVATE);
    }

    #[test]
    fn any_other_value_decodes_as_serde_json_decodes_it() {
        for text in ["null", "true", "-7", "18446744073709551615", "1e300", "\"a\"", "[[],{}]"] {
            let Plain(value) = serde_json::from_str(text).unwrap();
            assert_eq!(value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn an_escaped_nul_differs_from_an_escaped_backslash() {
        assert!(holds_nul(r#"{"a":"x\u0000y"}"#));
        assert!(holds_nul(r#"{"a":"\\\u0000"}"#));
        assert!(!holds_nul(r#"{"a":"\\u0000"}"#));
        assert!(!holds_nul(r#"{"a":"\u0001"}"#));
    }
}
