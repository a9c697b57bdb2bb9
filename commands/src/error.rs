//! Why a command is not accepted, and why a stream cannot be loaded.

use eventsourcing::{Reject, StreamId, Version};
use eventstore::{AppendError, Unavailable};

/// Why a command was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error<R: Reject> {
    /// The decider rejected the command.
    #[error(transparent)]
    Rejected(R),
    /// The request differs from the one the key was first used for.
    #[error("the idempotency key was used before, for another request")]
    KeyReused,
    /// Every attempt met a conflict.
    #[error("too many concurrent writes to stream {0}; retry later")]
    Contention(StreamId),
    /// A stream of [`Envelope::also`](crate::Envelope::also) is not at its expected version.
    #[error("stream {0} has changed since the decision")]
    Conflict(StreamId),
    /// The stream is not at [`Envelope::expected`](crate::Envelope::expected).
    #[error("the version is {actual}, not the expected one")]
    OtherVersion {
        /// Version of the stream.
        actual: Version,
    },
    /// Postgres refused the data of an event.
    #[error("{0}")]
    BadData(String),
    /// The log cannot be reached; the outcome may be unknown.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The appender has stopped.
    #[error("the process is shutting down")]
    ShuttingDown,
    /// An event of the stream, or one that follows, has a type or version unknown to this build.
    #[error("the stream cannot be read or written by this build")]
    Codec(#[from] eventsourcing::event::CodecError),
}

impl<R: Reject> From<AppendError> for Error<R> {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { stream, .. } => Self::Conflict(stream),
            AppendError::KeyReused => Self::KeyReused,
            AppendError::BadData(reason) => Self::BadData(reason),
            AppendError::Unavailable(error) => Self::Unavailable(error),
            AppendError::Codec(error) => Self::Codec(error),
            AppendError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// Why a stream could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log cannot be reached; the outcome may be unknown.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// An event has a type or version unknown to this build.
    #[error("the stream cannot be read by this build")]
    Codec(#[from] eventsourcing::event::CodecError),
}

impl<R: Reject> From<LoadError> for Error<R> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unavailable(error) => Self::Unavailable(error),
            LoadError::Codec(error) => Self::Codec(error),
        }
    }
}
