//! The failure that every operation on the log shares.

/// A failure of the database under the log, not of what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the log is not reachable")]
pub struct Unavailable(#[from] pub sqlx::Error);
