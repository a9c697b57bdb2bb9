//! [`Failure`]: why a command failed, and its exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use super::text;

/// Why a command failed. Each message is for the operator and ends with its causes.
#[derive(Debug)]
pub(super) struct Failure {
    kind: FailureKind,
    messages: Vec<String>,
}

/// The kinds of failure that a script can distinguish by the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// Exit code 0: the reader of stdout has closed the pipe, because it has what it needs.
    ClosedPipe,
    /// Exit code 1: any other failure.
    Failed,
    /// Exit code 2: the command line or the environment is wrong.
    Usage,
    /// Exit code 3: a server cannot be reached.
    NotReachable,
    /// Exit code 4: `verify`, `rebuild --verify` or `backup check` found a difference.
    Difference,
}

impl From<FailureKind> for ExitCode {
    fn from(kind: FailureKind) -> Self {
        Self::from(match kind {
            FailureKind::ClosedPipe => 0,
            FailureKind::Failed => 1,
            FailureKind::Usage => 2,
            FailureKind::NotReachable => 3,
            FailureKind::Difference => 4,
        })
    }
}

impl Failure {
    /// Returns a usage failure with one message for each mistake.
    pub(super) fn usage(messages: Vec<String>) -> Self {
        Self { kind: FailureKind::Usage, messages }
    }

    /// Returns the failure to reach a server.
    pub(super) fn not_reachable(error: impl Into<anyhow::Error>) -> Self {
        Self { kind: FailureKind::NotReachable, ..Self::from(error.into()) }
    }

    /// Returns a failure for differences that were found.
    pub(super) fn difference(messages: Vec<String>) -> Self {
        Self { kind: FailureKind::Difference, messages }
    }

    /// Returns the failure of several steps, of which one may have failed to reach a server.
    pub(super) fn of_many(messages: Vec<String>, unreachable: bool) -> Self {
        let kind = if unreachable { FailureKind::NotReachable } else { FailureKind::Failed };
        Self { kind, messages }
    }

    /// Returns the failure of a write to stdout. A command ends at it; that its reader has closed the
    /// pipe is not reported.
    pub(super) fn writing(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { kind: FailureKind::ClosedPipe, messages: Vec::new() };
        }
        anyhow::Error::from(error).context("cannot write to stdout").into()
    }

    /// Returns whether a server could not be reached.
    pub(super) fn is_not_reachable(&self) -> bool {
        self.kind == FailureKind::NotReachable
    }

    /// Returns the messages.
    pub(super) fn text(&self) -> String {
        self.messages.join("; ")
    }

    /// Returns whether the reader of stdout has closed the pipe.
    pub(super) fn is_closed_pipe(&self) -> bool {
        self.kind == FailureKind::ClosedPipe
    }

    /// Adds the messages of `other`; the exit code stays.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.messages.extend(other.messages);
        self
    }

    /// Begins each message with what it is about.
    pub(super) fn about(mut self, subject: &str) -> Self {
        for message in &mut self.messages {
            *message = format!("{subject}: {message}");
        }
        self
    }

    /// Writes the messages to stderr and returns the exit code.
    pub(super) fn report(&self) -> ExitCode {
        for message in &self.messages {
            let lines: Vec<_> = message.lines().map(text::printable).collect();
            drop(writeln!(io::stderr(), "error: {}", lines.join("\n")));
        }
        self.kind.into()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { kind: FailureKind::Failed, messages: vec![chain(&error)] }
    }
}

/// Joins an error and its causes. Some libraries repeat the cause in the text of the error; it is
/// then left out.
fn chain(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.ends_with(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        eventstore::Unavailable::from(error).into()
    }
}

/// An error of the database; one that Postgres itself reported is not a failure to reach it.
impl From<eventstore::Unavailable> for Failure {
    fn from(error: eventstore::Unavailable) -> Self {
        if error.reached() { anyhow::Error::from(error).into() } else { Self::not_reachable(error) }
    }
}

/// An error of the HTTP API; a response that refuses the request is not a failure to reach it.
impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let reached = !matches!(error, client::Error::NotReachable { .. });
        let error = anyhow::Error::from(printable(error));
        if reached {
            return error.into();
        }
        let cause = chain(&error);
        let option = if cause.contains("certificate") { "--ca-file" } else { "--url" };
        let message = format!("{cause}; check {option}");
        Self { kind: FailureKind::NotReachable, messages: vec![message] }
    }
}

/// Escapes what the server wrote, part by part: a line break in it would forge a line.
fn printable(error: client::Error) -> client::Error {
    let client::Error::Problem(mut problem) = error else { return error };
    let client::Problem { title, detail, code, trace_id, errors, .. } = &mut *problem;
    let of_faults = errors.iter_mut().flat_map(|fault| {
        [Some(&mut fault.detail), fault.pointer.as_mut(), fault.parameter.as_mut()]
    });
    for part in [title, detail, code, trace_id].into_iter().chain(of_faults.flatten()) {
        *part = text::printable(part).into_owned();
    }
    client::Error::Problem(problem)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_message_ends_with_its_causes() {
        let error = Err::<(), _>(anyhow!("connection refused")).context("cannot reach NATS");
        let failure = Failure::not_reachable(error.unwrap_err());
        assert_eq!(failure.messages, ["cannot reach NATS: connection refused"]);
        assert_eq!(failure.kind, FailureKind::NotReachable);
    }

    #[test]
    fn a_cause_that_the_error_repeats_is_printed_once() {
        let refused = io::ErrorKind::ConnectionRefused.into();
        let failure = Failure::from(sqlx::Error::Io(refused));
        let expected = "Postgres refused the connection: check that it runs, and host and port of \
                        the URL: error communicating with database: connection refused";
        assert_eq!(failure.messages, [expected]);
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
        let closed = Failure::writing(io::ErrorKind::BrokenPipe.into());
        assert!(closed.is_closed_pipe() && closed.messages.is_empty());
        let full = Failure::writing(io::ErrorKind::StorageFull.into());
        assert_eq!(full.messages, ["cannot write to stdout: no storage space"]);
        assert_eq!(full.kind, FailureKind::Failed);
    }

    #[test]
    fn a_problem_forges_no_line_and_no_escape_sequence() {
        let problem = serde_json::json!({
            "type": "t", "title": "T", "status": 422, "detail": "a\nerror: b\u{1b}[2J", "code": "c",
            "errors": [{"pointer": "/a\r", "parameter": null, "detail": "d\n"}],
        });
        let problem = serde_json::from_value(problem).unwrap();
        let failure = Failure::from(client::Error::Problem(problem));
        let shown = "422 T: a\\nerror: b\\u{1b}[2J (code c, trace id )\n  /a\\r: d\\n";
        assert_eq!(failure.messages, [shown]);
    }

    #[test]
    fn an_error_that_postgres_reported_is_not_a_failure_to_reach_it() {
        assert_eq!(Failure::from(sqlx::Error::PoolTimedOut).kind, FailureKind::NotReachable);
        let decode = sqlx::Error::Decode("not a number".into());
        assert_eq!(Failure::from(decode).kind, FailureKind::Failed);
    }
}
