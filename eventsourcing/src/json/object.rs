//! A JSON object that keeps the digits of its numbers and the order of its members.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::number::Numbers;
use super::scan::{Rules, Scan};

/// A JSON object as its text. Numbers have the digits that they were written with, which no number type
/// has. Two objects are equal if their texts are.
#[derive(Clone, Default)]
pub struct Object(Option<Box<RawValue>>);

impl Object {
    const EMPTY: &'static str = "{}";

    /// Makes an object of members, each with its name, quoted, and its value, both as JSON.
    ///
    /// # Errors
    /// Returns an error if a name or a value is not JSON.
    pub fn of<'t>(
        members: impl IntoIterator<Item = (Cow<'t, str>, Cow<'t, str>)>,
    ) -> Result<Self, serde_json::Error> {
        let mut text = String::new();
        for (quoted, value) in members {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.extend([&quoted, ":", &*value]);
        }
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.push('}');
        RawValue::from_string(text).map(|json| Self(Some(json)))
    }

    /// Returns whether the object has no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the object as JSON text.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or(Self::EMPTY, |json| json.get())
    }

    /// Returns the members in their order: the name, and the value as JSON text. Of members with the
    /// same name, all are returned.
    pub fn members(&self) -> Vec<(Cow<'_, str>, &str)> {
        let mut members = Vec::new();
        let Some(json) = &self.0 else { return members };
        // Deeper than any door accepts.
        let rules = Rules { depth: 1024, name_bytes: usize::MAX, nul: true, numbers: Numbers::Any };
        let mut scan = Scan::new(json, rules);
        let complete = scan.object(|scan, name| {
            members.push((name.text.clone(), scan.value()?));
            Ok(())
        });
        debug_assert!(complete.is_ok(), "what is kept was checked");
        members
    }

    /// Returns the value of a member as JSON text; `None` if there is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.members().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(json) => json.serialize(serializer),
            None => serializer.collect_map(std::iter::empty::<(&str, ())>()),
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        if !json.get().starts_with('{') {
            return Err(D::Error::custom("must be an object"));
        }
        let is_empty = json.get()[1..].trim_start() == "}";
        Ok(Self((!is_empty).then_some(json)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_order_are_kept() {
        let text = r#"{"z":89490200001234567891,"a":1.50,"b":{"c":[1e2]}}"#;
        let object: Object = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), text);
        let members = object.members();
        let members: Vec<_> = members.iter().map(|(name, value)| (&**name, *value)).collect();
        assert_eq!(
            members,
            [("z", "89490200001234567891"), ("a", "1.50"), ("b", r#"{"c":[1e2]}"#)]
        );
        let quoted =
            [("\"z\"", "89490200001234567891"), ("\"a\"", "1.50"), ("\"b\"", r#"{"c":[1e2]}"#)];
        let made = Object::of(quoted.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(made.unwrap(), object);
    }

    #[test]
    fn an_empty_object_is_an_object() {
        let object: Object = serde_json::from_str("{ }").unwrap();
        assert!(object.is_empty() && object == Object::default() && object.members().is_empty());
        assert_eq!(serde_json::to_string(&object).unwrap(), "{}");
        assert!(serde_json::from_str::<Object>("[1]").is_err());
    }
}
