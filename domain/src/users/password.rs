//! Password hashes, which no log line and no error may show.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A password as it is kept: an argon2id PHC string, salt and parameters included.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes what the hash function gave.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The hash itself, for the one place that checks passwords.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}
