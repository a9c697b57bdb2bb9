//! How a command failed, and the exit code that says so.

use std::process::ExitCode;

use super::output;

/// Why a command did not do what it should.
#[derive(Debug)]
pub(super) struct Failure {
    kind: FailureKind,
    messages: Vec<String>,
}

/// The kinds a script can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    Failed,
    Usage,
    NotReachable,
    /// What should say the same does not.
    Difference,
}

impl From<FailureKind> for ExitCode {
    fn from(kind: FailureKind) -> Self {
        Self::from(match kind {
            FailureKind::Failed => 1,
            FailureKind::Usage => 2,
            FailureKind::NotReachable => 3,
            FailureKind::Difference => 4,
        })
    }
}

impl Failure {
    /// Something is wrong with what was given.
    pub(super) fn usage(messages: Vec<String>) -> Self {
        Self { kind: FailureKind::Usage, messages }
    }

    /// A server is not there.
    pub(super) fn not_reachable(error: impl Into<anyhow::Error>) -> Self {
        Self { kind: FailureKind::NotReachable, ..Self::from(error.into()) }
    }

    /// What should say the same does not.
    pub(super) fn difference(messages: Vec<String>) -> Self {
        Self { kind: FailureKind::Difference, messages }
    }

    /// Several things failed; perhaps because a server is not there.
    pub(super) fn of_many(messages: Vec<String>, unreachable: bool) -> Self {
        let kind = if unreachable { FailureKind::NotReachable } else { FailureKind::Failed };
        Self { kind, messages }
    }

    /// This and another one; the exit code is this one's.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.messages.extend(other.messages);
        self
    }

    /// Says it on stderr.
    pub(super) fn report(&self) -> ExitCode {
        for message in &self.messages {
            output::note(&format!("error: {message}"));
        }
        self.kind.into()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { kind: FailureKind::Failed, messages: vec![format!("{error:#}")] }
    }
}

/// Failures of the database: whether it was reached is told apart.
impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let reached = matches!(error, sqlx::Error::Database(_) | sqlx::Error::Decode(_));
        let error = anyhow::Error::from(error).context("the database");
        if reached { error.into() } else { Self::not_reachable(error) }
    }
}

/// Failures of a request: whether there was an answer is told apart.
impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let reached = !(error.is_connect() || error.is_timeout());
        let error = anyhow::Error::from(error);
        if reached { error.into() } else { Self::not_reachable(error) }
    }
}
