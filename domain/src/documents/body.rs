//! A JSON object kept as the client wrote it: digits, order of members and white space are unchanged.
//!
//! It is validated once when it is received, so that projections and validators accept it later.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON object with its original text. Two bodies are equal if their texts are equal.
#[derive(Clone)]
pub struct Body(Arc<RawValue>);

impl Body {
    /// Maximum nesting depth of objects and arrays.
    pub const MAX_DEPTH: usize = 100;

    /// Validates a JSON value.
    ///
    /// # Errors
    /// Returns an error if the value is not an object, is nested deeper than [`Self::MAX_DEPTH`], or
    /// holds what parsers disagree on or Postgres cannot store: duplicate members, NUL characters,
    /// numbers out of range.
    pub fn new(json: Box<RawValue>) -> Result<Self, InvalidBody> {
        let at_root = |detail: &str| InvalidBody { pointer: String::new(), detail: detail.into() };
        if !json.get().starts_with('{') {
            return Err(at_root("must be an object"));
        }
        let mut walk = Walk::default();
        let mut reader = serde_json::Deserializer::from_str(json.get());
        match Value(&mut walk).deserialize(&mut reader) {
            Ok(()) => Ok(Self(json.into())),
            Err(error) => {
                let detail = walk.fault.unwrap_or_else(|| error.to_string());
                Err(InvalidBody { pointer: walk.path.concat(), detail })
            }
        }
    }

    /// Returns the original text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Body {}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Decodes a body from the log; [`Body::new`] validated it before it was recorded.
impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|json| Self(json.into()))
    }
}

/// Why a JSON value is not accepted as a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct InvalidBody {
    /// JSON pointer to the invalid value; empty for the whole document.
    pub pointer: String,
    /// What is wrong, for people.
    pub detail: String,
}

/// The position of the validation, and its first fault.
#[derive(Default)]
struct Walk {
    /// Tokens of the JSON pointer, each with its slash.
    path: Vec<String>,
    fault: Option<String>,
}

impl Walk {
    fn stop<E: Error>(&mut self, detail: String) -> E {
        let error = E::custom(&detail);
        self.fault.get_or_insert(detail);
        error
    }

    fn text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            return Err(self.stop("must not contain \\u0000".into()));
        }
        Ok(())
    }

    fn enter<E: Error>(&mut self) -> Result<(), E> {
        if self.path.len() >= Body::MAX_DEPTH {
            return Err(
                self.stop(format!("must not be nested deeper than {} levels", Body::MAX_DEPTH))
            );
        }
        Ok(())
    }
}

/// Validates one value and all values inside it.
struct Value<'a>(&'a mut Walk);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self(walk) = self;
        walk.enter()?;
        for index in 0_usize.. {
            walk.path.push(format!("/{index}"));
            let more = items.next_element_seed(Value(&mut *walk))?.is_some();
            walk.path.pop();
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self(walk) = self;
        walk.enter()?;
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            walk.path.push(format!("/{}", name.replace('~', "~0").replace('/', "~1")));
            walk.text(&name)?;
            if names.contains(&name) {
                // Parsers and validators disagree on which of the two counts.
                return Err(walk.stop("duplicate member".into()));
            }
            names.insert(name);
            members.next_value_seed(Value(&mut *walk))?;
            walk.path.pop();
        }
        Ok(())
    }
}
