//! The error that operations on the log share, and errors as text with their causes.

use std::error::Error;
use std::fmt;

/// Postgres could not read or write the log. The request was not at fault and may be sent again.
///
/// The message says what failed; the source says why. [`ErrorChain`] prints both.
#[derive(Debug, thiserror::Error)]
#[error("{}", description(.0))]
pub struct Unavailable(#[from] pub sqlx::Error);

fn description(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Database(_) => "Postgres rejected a statement on the log",
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            "cannot decode a row of the log"
        }
        _ => "cannot reach the log in Postgres",
    }
}

/// Displays an error followed by its sources, separated by `: `.
///
/// Leaves out a source that the message before already ends with, since many libraries repeat
/// theirs.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = self.0.to_string();
        f.write_str(&message)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let cause = error.to_string();
            if !message.ends_with(&cause) {
                write!(f, ": {cause}")?;
            }
            message = cause;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_each_cause_once() {
        let refused = std::io::Error::other("connection refused");
        let error = Unavailable(sqlx::Error::Io(refused));
        assert_eq!(
            ErrorChain(&error).to_string(),
            "cannot reach the log in Postgres: \
             error communicating with database: connection refused"
        );
    }
}
