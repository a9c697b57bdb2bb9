//! Names of hosts, as used in MQTT topics.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a host, such as `web-1.example.org`: 1 to [`Self::MAX_BYTES`] letters, digits, `.`,
/// `_` or `-`. Parsing applies the rule for [names](crate::name); deserializing, of stored names, does
/// not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "String")]
pub struct HostName(Box<str>);

impl HostName {
    /// Maximum length in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Box<str>> for HostName {
    type Error = InvalidHostName;

    fn try_from(text: Box<str>) -> Result<Self, InvalidHostName> {
        let valid = (1..=Self::MAX_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if valid { Ok(Self(text)) } else { Err(InvalidHostName) }
    }
}

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        crate::name::check(text).map_err(|_dots_or_empty| InvalidHostName)?;
        Self::try_from(Box::from(text))
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not the name of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a host name is 1 to {} letters, digits or . _ -, and not `.` or `..`",
    HostName::MAX_BYTES
)]
pub struct InvalidHostName;
