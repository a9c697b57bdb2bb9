//! Names of users and devices, as they stand in MQTT topics.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest user or device id in bytes.
pub(super) const MAX_BYTES: usize = 64;

/// Letters, digits and `. _ : @ -`: safe in topics, URLs and stream ids alike. `~` is left out, so
/// that it can part the two in a stream id.
fn is_valid(text: &str) -> bool {
    (1..=MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user or device id is 1 to {MAX_BYTES} letters, digits or . _ : @ -")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Box<str>", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(Box::from(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<Box<str>> for $name {
            type Error = InvalidId;

            fn try_from(text: Box<str>) -> Result<Self, InvalidId> {
                if is_valid(&text) { Ok(Self(text)) } else { Err(InvalidId) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Owner of devices, as named in topics: `users/{user_id}/…`.
    UserId
}
id! {
    /// A device of a user; unique with the user only.
    DeviceId
}

/// One device of one user; displays as `user~device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceRef<'a> {
    pub user_id: &'a UserId,
    pub device_id: &'a DeviceId,
}

impl fmt::Display for DeviceRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.user_id, self.device_id)
    }
}
