//! The key of a rule: which field of a reading it evaluates.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The key of a field of a reading: a name, a dotted path (`engine.pressure`) or a JSON pointer
/// (`/engine/pressure`). A field whose own name contains the dots takes precedence over a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key {
    text: Box<str>,
    steps: Box<[Box<str>]>,
}

impl Key {
    /// Maximum length in bytes.
    pub const MAX_BYTES: usize = 200;
    /// Maximum number of steps of a path.
    pub const MAX_STEPS: usize = 8;

    /// Parses a key.
    ///
    /// # Errors
    /// Returns an error if the text is too long, has too many steps or an empty one, or contains a NUL
    /// character.
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

    /// Returns the key as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the path to the field, outermost step first; never empty.
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

/// The text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key is a field name, a dotted path or a JSON pointer: at most {} bytes and {} steps, none empty",
    Key::MAX_BYTES,
    Key::MAX_STEPS
)]
pub struct InvalidKey;
