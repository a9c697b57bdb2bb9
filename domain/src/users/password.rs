//! Password hashes, which must not appear in log lines and errors.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A password hash: an argon2id string in PHC format, with salt and parameters. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Wraps a PHC string, which is not validated.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// Returns the PHC string, to verify a password.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}
