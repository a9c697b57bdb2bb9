//! Ids of users and devices, as used in MQTT topics.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::name;

/// Maximum length of a user or device id in bytes.
pub(super) const MAX_BYTES: usize = 64;

/// Accepts letters, digits and `. _ : @ -`, which are safe in topics, URLs and stream ids. `~` is
/// excluded because it separates user and device in a stream id. Stored ids are held to this only.
fn is_storable(text: &str) -> bool {
    (1..=MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte))
}

/// The text is not a user or device id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a user or device id is 1 to {MAX_BYTES} letters, digits or . _ : @ -, and not `.` or `..`"
)]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses an id.
            ///
            /// # Errors
            /// Returns an error unless the text is 1 to 64 letters, digits or `. _ : @ -`, and a
            /// [name](crate::name).
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(Box::from(text))
            }

            /// Returns an id that is stored, also one that is refused by today's rule for names.
            ///
            /// # Errors
            /// Returns an error unless the text is 1 to 64 letters, digits or `. _ : @ -`.
            pub fn stored(text: &str) -> Result<Self, InvalidId> {
                if is_storable(text) { Ok(Self(text.into())) } else { Err(InvalidId) }
            }

            /// Returns the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<Box<str>> for $name {
            type Error = InvalidId;

            fn try_from(text: Box<str>) -> Result<Self, InvalidId> {
                let valid = is_storable(&text) && name::check(&text).is_ok();
                if valid { Ok(Self(text)) } else { Err(InvalidId) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// Reads a stored id.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                Self::stored(&text).map_err(de::Error::custom)
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
    /// The id of a user who owns devices, as in the topic `users/{user_id}/…`: 1 to 64 letters,
    /// digits or `. _ : @ -`.
    UserId
}
id! {
    /// The id of a device, unique within its user: 1 to 64 letters, digits or `. _ : @ -`.
    DeviceId
}

/// A device, identified by user and device id. Its `Display` form is `user~device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceRef<'a> {
    /// Id of the user.
    pub user_id: &'a UserId,
    /// Id of the device.
    pub device_id: &'a DeviceId,
}

impl fmt::Display for DeviceRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.user_id, self.device_id)
    }
}
