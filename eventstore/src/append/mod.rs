//! One append request: what is to be written, on which condition, and what comes back.

pub(crate) mod appender;
pub(crate) mod append_cache;
pub(crate) mod batch;
pub(crate) mod conflict_check;
pub(crate) mod prepared;
pub(crate) mod receipt;

use eventsourcing::event::{CodecError, Encoded, encode};
use eventsourcing::{Event, Metadata, Position, StreamId, Version};
use uuid::Uuid;

use crate::append::receipt::{NewReceipt, Receipt};
use crate::{EventStore, Unavailable};

/// What a stream must be like for the request to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Whatever it is: for facts, which nobody decides.
    Any,
    /// It has no events yet.
    NoStream,
    /// It has at least one.
    StreamExists,
    /// It has exactly so many. `Exact(Version::NONE)` means the same as `NoStream`.
    Exact(Version),
}

impl ExpectedVersion {
    /// Whether it allows nothing but a stream without events.
    pub(crate) fn is_new(self) -> bool {
        matches!(self, Self::NoStream | Self::Exact(Version::NONE))
    }

    pub(crate) fn allows(self, actual: Version) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual == Version::NONE,
            Self::StreamExists => actual > Version::NONE,
            Self::Exact(expected) => actual == expected,
        }
    }
}

/// An event to be written.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The same id twice is the same event, for ever.
    pub id: Uuid,
    pub encoded: Encoded,
}

impl NewEvent {
    /// An event that is new by its nature.
    pub fn new<E: Event>(event: &E) -> Result<Self, CodecError> {
        Self::with_id(Uuid::now_v7(), event)
    }

    /// An event with an id derived from what identifies it.
    pub fn with_id<E: Event>(id: Uuid, event: &E) -> Result<Self, CodecError> {
        Ok(Self { id, encoded: encode(event)? })
    }
}

/// The part of a request that concerns one stream. Without events it is only checked.
#[derive(Debug, Clone)]
pub struct StreamAppend {
    pub stream: StreamId,
    pub expected: ExpectedVersion,
    pub events: Vec<NewEvent>,
}

/// A request: all of it is written, or none of it.
#[derive(Debug, Clone, Default)]
pub struct Append {
    pub streams: Vec<StreamAppend>,
    pub metadata: Metadata,
    /// Makes the request answerable once: see [`Appended::Replayed`].
    pub receipt: Option<NewReceipt>,
}

impl Append {
    /// A request that concerns one stream.
    pub fn to(stream: StreamId, expected: ExpectedVersion, events: Vec<NewEvent>) -> Self {
        Self { streams: vec![StreamAppend { stream, expected, events }], ..Self::default() }
    }

    #[must_use]
    pub fn metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    #[must_use]
    pub fn receipt(self, receipt: Option<NewReceipt>) -> Self {
        Self { receipt, ..self }
    }

    pub(crate) fn events(&self) -> usize {
        self.streams.iter().map(|part| part.events.len()).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        let receipt = self.receipt.as_ref().map_or(0, |receipt| receipt.response.len());
        let events = self.streams.iter().flat_map(|part| &part.events);
        receipt + events.map(|event| event.encoded.data.len()).sum::<usize>()
    }
}

/// What became of an accepted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Written and committed. `version` is that of the request's first stream now.
    New { position: Position, version: Version },
    /// Its events were in the log already; `position` is that of the first one found.
    Duplicate { position: Position },
    /// Its idempotency key was used before, for the same request: the first answer.
    Replayed(Receipt),
}

/// Why a request was not written. Nothing of it was, and nobody else's request suffered.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("stream {stream} is at version {actual}, which {expected:?} does not allow")]
    Conflict { stream: StreamId, expected: ExpectedVersion, actual: Version },
    #[error("the idempotency key was used before, for another request")]
    KeyReused,
    #[error("{0}")]
    BadData(String),
    /// Whether it was written is not known; asking again with the same ids is safe.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the event cannot be stored")]
    Codec(#[from] CodecError),
    #[error("the process is shutting down")]
    ShuttingDown,
}

/// What a caller is told.
pub(crate) type Outcome = Result<Appended, AppendError>;

impl EventStore {
    /// Appends `request` and waits until it is committed, together with all that waited with it.
    /// A caller that stops waiting changes nothing: what was taken is finished.
    pub async fn append(&self, request: Append) -> Result<Appended, AppendError> {
        self.appender.append(request).await
    }
}
