//! The outcome of an append request.

use eventsourcing::event::CodecError;
use eventsourcing::{Position, StreamId, Version};
use uuid::Uuid;

use crate::append::receipt::Receipt;
use crate::append::request::ExpectedVersion;
use crate::error::Unavailable;

/// An event of a request that the log already had. It was not written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Id of the event.
    pub id: Uuid,
    /// Position of the event in the log.
    pub position: Position,
}

/// An accepted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The events are committed.
    New {
        /// Position of the last event written; the head if the request has no events. The positions
        /// of all written events are consecutive.
        position: Position,
        /// Version of the request's first stream after the append.
        version: Version,
        /// The events of the request that were not written, because the log already had them or the
        /// request holds them twice. In the order of the request; not all of its events.
        known: Vec<Known>,
    },
    /// The log already had every event of the request; nothing was written.
    Duplicate {
        /// Position of the request's first event.
        position: Position,
    },
    /// The idempotency key was used before for the same request; nothing was written. Holds the
    /// stored receipt.
    Replayed(Receipt),
}

/// Why a request was not written. Other requests of the same batch are not affected.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A stream does not have the expected version.
    #[error("conflict: stream {stream} is at version {actual}, the request expects {expected}")]
    Conflict {
        /// The first stream whose version differs.
        stream: StreamId,
        /// The version that the request expects.
        expected: ExpectedVersion,
        /// The version that the stream has.
        actual: Version,
    },
    /// The idempotency key belongs to a request with another fingerprint.
    #[error("the idempotency key was used before for another request; use a new key")]
    KeyReused,
    /// The request is invalid, or Postgres cannot store a value in it. Holds the reason.
    #[error("{0}")]
    BadData(String),
    /// Postgres failed. Whether the request was written is unknown: send it again with the same
    /// event ids or the same idempotency key.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// An event or its metadata cannot be encoded.
    #[error("cannot encode the event")]
    Codec(#[from] CodecError),
    /// The appender accepts no further requests.
    #[error("the process is shutting down; send the request again after the restart")]
    ShuttingDown,
}

/// The outcome of one request of a batch.
pub(crate) type Outcome = Result<Appended, AppendError>;
