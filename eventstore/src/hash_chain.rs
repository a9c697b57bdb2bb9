//! The hash chain: every event carries a hash over itself and the hash before it, so that changing
//! one byte of history invalidates every hash after it.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use sha2::{Digest, Sha256};

use crate::raw::RawEvent;

/// A SHA-256 hash; empty before the first event.
pub type EventHash = Vec<u8>;

/// Returns the hash of `event`, given the hash of the event before it.
///
/// It covers the previous hash, the hash of the event's content, and the event's position, version
/// and time. Numbers are big-endian, times are microseconds since the Unix epoch, and every text is
/// preceded by its length in eight bytes, so that no two events hash the same input.
pub fn event_hash(previous: &[u8], event: &RawEvent) -> EventHash {
    let content = Content {
        id: event.id.as_bytes(),
        schema_version: event.schema_version,
        event_type: &event.event_type,
        stream: event.stream.as_str(),
        data: &event.data,
        metadata: &event.metadata,
    };
    let assigned = Assignment {
        position: event.position,
        version: event.version.0,
        recorded_at: event.recorded_at,
    };
    assigned.hash(previous, &content.hash()).to_vec()
}

/// The part of an event that its writer chooses. Hashed before the position is known.
pub(crate) struct Content<'a> {
    pub(crate) id: &'a [u8; 16],
    pub(crate) schema_version: i16,
    pub(crate) event_type: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) data: &'a str,
    pub(crate) metadata: &'a str,
}

impl Content<'_> {
    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.id);
        hash.update(self.schema_version.to_be_bytes());
        for text in [self.event_type, self.stream, self.data, self.metadata] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }
}

/// The part of an event that the log assigns when it is appended.
pub(crate) struct Assignment {
    pub(crate) position: Position,
    pub(crate) version: i64,
    pub(crate) recorded_at: DateTime<Utc>,
}

impl Assignment {
    pub(crate) fn hash(&self, previous: &[u8], content: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(previous);
        hash.update(content);
        hash.update(self.position.0.to_be_bytes());
        hash.update(self.version.to_be_bytes());
        hash.update(self.recorded_at.timestamp_micros().to_be_bytes());
        hash.finalize().into()
    }
}
