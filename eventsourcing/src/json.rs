//! JSON values whose member names are data. `serde_json::Value` replaces an object whose first member
//! is `$serde_json::private::RawValue` by the JSON text in that member, so a value that others chose
//! would change, or fail to decode. The types of this module keep every name, and can bound depth and
//! names while they decode.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// A JSON value of which every member name is data.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Plain(pub Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Within::new(Bounds::NONE, &Cell::new(None)).deserialize(deserializer).map(Self)
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

/// Bounds on a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum nesting depth of objects and arrays.
    pub depth: usize,
    /// Maximum length of a member name in bytes.
    pub name_bytes: usize,
}

impl Bounds {
    /// No bounds; the parser has one of its own, 127 levels.
    pub const NONE: Self = Self { depth: usize::MAX, name_bytes: usize::MAX };

    /// Checks the length of a member name.
    ///
    /// # Errors
    /// Returns an error if the name is longer than [`Self::name_bytes`].
    pub fn check_name(&self, name: &str) -> Result<(), Exceeded> {
        if name.len() > self.name_bytes { Err(Exceeded::Name(self.name_bytes)) } else { Ok(()) }
    }
}

/// The bound that a value exceeds, with its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Objects and arrays are nested deeper.
    #[error("objects and arrays are nested deeper than {0} levels")]
    Depth(usize),
    /// A member name is longer.
    #[error("a field name is longer than {0} bytes")]
    Name(usize),
}

/// Decodes a value within bounds. An error of the deserializer is text; the bound that was exceeded is
/// also stored in a cell.
#[derive(Debug, Clone, Copy)]
pub struct Within<'a> {
    bounds: Bounds,
    exceeded: &'a Cell<Option<Exceeded>>,
    level: usize,
}

impl<'a> Within<'a> {
    /// Creates a decoder of values at depth 0.
    pub fn new(bounds: Bounds, exceeded: &'a Cell<Option<Exceeded>>) -> Self {
        Self { bounds, exceeded, level: 0 }
    }

    /// Returns the decoder of what an object or array holds.
    ///
    /// # Errors
    /// Returns an error if that is nested too deep.
    pub fn enter<E: Error>(self) -> Result<Self, E> {
        if self.level >= self.bounds.depth {
            return Err(self.fail(Exceeded::Depth(self.bounds.depth)));
        }
        Ok(Self { level: self.level + 1, ..self })
    }

    /// Checks a member name.
    ///
    /// # Errors
    /// Returns an error if the name is too long.
    pub fn name<E: Error>(self, name: &str) -> Result<(), E> {
        self.bounds.check_name(name).map_err(|exceeded| self.fail(exceeded))
    }

    fn fail<E: Error>(self, exceeded: Exceeded) -> E {
        self.exceeded.set(Some(exceeded));
        E::custom(exceeded)
    }
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
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
        let inner = self.enter()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.enter()?;
        let mut values = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.name(&name)?;
            values.insert(name, members.next_value_seed(inner)?);
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
    fn depth_and_names_are_bounded() {
        let bounds = Bounds { depth: 2, name_bytes: 3 };
        let read = |text: &str| {
            let exceeded = Cell::new(None);
            let mut reader = serde_json::Deserializer::from_str(text);
            let value = Within::new(bounds, &exceeded).deserialize(&mut reader);
            (value.is_ok(), exceeded.get())
        };
        assert_eq!(read(r#"{"abc": [1]}"#), (true, None));
        assert_eq!(read(r#"{"a": [[]]}"#), (false, Some(Exceeded::Depth(2))));
        assert_eq!(read(r#"{"a": {"éé": 1}}"#), (false, Some(Exceeded::Name(3))));
    }

    #[test]
    fn an_escaped_nul_differs_from_an_escaped_backslash() {
        assert!(holds_nul(r#"{"a":"x\u0000y"}"#));
        assert!(holds_nul(r#"{"a":"\\\u0000"}"#));
        assert!(!holds_nul(r#"{"a":"\\u0000"}"#));
        assert!(!holds_nul(r#"{"a":"\u0001"}"#));
    }
}
