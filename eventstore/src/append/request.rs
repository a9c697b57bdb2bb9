//! An append request: the events to append, on which conditions.

use eventsourcing::event::{CodecError, Encoded, encode};
use eventsourcing::{Event, Metadata, StreamId, Version};
use uuid::Uuid;

use crate::append::receipt::NewReceipt;

/// The version that a stream must have for a request to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Any version: for facts, which no decision depends on.
    Any,
    /// The stream has no events.
    NoStream,
    /// The stream has at least one event.
    StreamExists,
    /// The stream has this version. `Exact(Version::NONE)` is the same as `NoStream`.
    Exact(Version),
}

impl ExpectedVersion {
    /// Returns whether only a stream without events is allowed.
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

impl std::fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream | Self::Exact(Version::NONE) => f.write_str("no stream"),
            Self::StreamExists => f.write_str("an existing stream"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

/// An event to append.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Identity of the event. An id is stored once: an event whose id the log has is a duplicate.
    pub id: Uuid,
    /// Type, schema version and JSON of the event.
    pub encoded: Encoded,
}

impl NewEvent {
    /// Encodes an event and gives it a new id.
    pub fn new<E: Event>(event: &E) -> Result<Self, CodecError> {
        Self::with_id(Uuid::now_v7(), event)
    }

    /// Encodes an event with the given id, for one derived from what identifies the event.
    pub fn with_id<E: Event>(id: Uuid, event: &E) -> Result<Self, CodecError> {
        Ok(Self { id, encoded: encode(event)? })
    }
}

/// The part of a request that concerns one stream. Without events, only the version is checked.
#[derive(Debug, Clone)]
pub struct StreamAppend {
    /// The stream; a request names a stream more than once only if every part with it expects
    /// [`ExpectedVersion::Any`].
    pub stream: StreamId,
    /// The version that the stream must have.
    pub expected: ExpectedVersion,
    /// The events, in order.
    pub events: Vec<NewEvent>,
}

/// An append request. Either all of it is written or none of it, except that an event which the log has
/// is not written again: see [`Appended::New`](crate::Appended::New).
///
/// At most [`BATCH_EVENTS`](crate::BATCH_EVENTS) events and
/// [`MAX_REQUEST_BYTES`](crate::MAX_REQUEST_BYTES) bytes of event data and response.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// The streams concerned, in the order that their events get positions in.
    pub streams: Vec<StreamAppend>,
    /// Metadata of every event.
    pub metadata: Metadata,
    /// Makes the request idempotent by key: see [`Appended::Replayed`](crate::Appended::Replayed).
    pub receipt: Option<NewReceipt>,
}

impl Append {
    /// Creates a request that concerns one stream.
    pub fn to(stream: StreamId, expected: ExpectedVersion, events: Vec<NewEvent>) -> Self {
        Self { streams: vec![StreamAppend { stream, expected, events }], ..Self::default() }
    }

    /// Replaces the metadata.
    #[must_use]
    pub fn metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    /// Replaces the receipt.
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
