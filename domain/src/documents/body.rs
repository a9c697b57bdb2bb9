//! A JSON object kept as the client wrote it: digits, order of members and white space are unchanged.
//!
//! It is validated once when it is received, so that projections and validators accept it later.

use std::fmt;
use std::sync::Arc;

use eventsourcing::json::{Fault, Numbers, Reason, Rules, check};
use serde::de::Deserializer;
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
    /// holds what parsers disagree on or Postgres cannot store: duplicate members, lone surrogates, NUL
    /// characters, numbers out of range.
    pub fn new(json: Box<RawValue>) -> Result<Self, Fault> {
        if !json.get().starts_with('{') {
            let reason = Reason::Type("must be an object".to_owned());
            return Err(Fault { pointer: String::new(), reason });
        }
        let numbers = Numbers::Finite;
        let rules = Rules { depth: Self::MAX_DEPTH, name_bytes: usize::MAX, nul: false, numbers };
        check(&json, rules)?;
        Ok(Self(json.into()))
    }

    /// Checks that a 64-bit integer or a double holds every number of the document with all its digits,
    /// as a validator reads them.
    ///
    /// # Errors
    /// Returns the first number that is rounded.
    pub fn check_numbers(&self) -> Result<(), Fault> {
        let numbers = Numbers::Exact;
        check(&self.0, Rules { depth: usize::MAX, name_bytes: usize::MAX, nul: true, numbers })
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
