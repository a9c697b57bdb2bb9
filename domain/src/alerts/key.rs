//! Which field of a reading a rule looks at.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A field of a reading: a name, a dotted path (`engine.pressure`) or a JSON pointer
/// (`/engine/pressure`). A field whose own name has the dots in it goes first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key {
    text: Box<str>,
    steps: Box<[Box<str>]>,
}

impl Key {
    /// Longest key, in bytes.
    pub const MAX_BYTES: usize = 200;
    /// Deepest field a key reaches.
    pub const MAX_STEPS: usize = 8;

    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let steps: Box<[Box<str>]> = match text.strip_prefix('/') {
            // RFC 6901: `~1` is a slash, `~0` a tilde.
            Some(pointer) => pointer
                .split('/')
                .map(|step| step.replace("~1", "/").replace("~0", "~").into())
                .collect(),
            None => text.split('.').map(Box::from).collect(),
        };
        let fits = text.len() <= Self::MAX_BYTES
            && steps.len() <= Self::MAX_STEPS
            && steps.iter().all(|step| !step.is_empty())
            && !text.contains('\0');
        if fits { Ok(Self { text: text.into(), steps }) } else { Err(InvalidKey) }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The way to the field, outermost first; at least one step.
    pub(super) fn steps(&self) -> &[Box<str>] {
        &self.steps
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        Self::parse(&text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.text.into()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a field's name, a dotted path or a JSON pointer: at most {} bytes and {} steps, none empty",
    Key::MAX_BYTES,
    Key::MAX_STEPS
)]
pub struct InvalidKey;
