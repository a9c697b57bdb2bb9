//! Events that a consumer cannot handle.

use eventsourcing::{Position, StreamId};

use crate::{ErrorChain, RawEvent};

/// Category of the keys of single events.
const SINGLE: &str = "event";

/// An event that cannot be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What waits behind the event.
    pub key: StreamId,
    /// Position of the event.
    pub position: Position,
    /// Why, with all causes, for the operator.
    pub error: String,
}

impl Failed {
    /// An event that is corrupt: it cannot be decoded although this build knows its type and its
    /// schema version, so no further attempt succeeds. Its key is the event's stream.
    pub fn undecodable(event: &RawEvent, error: &dyn std::error::Error) -> Self {
        let error = format!("cannot decode event {}: {}", event.position, ErrorChain(error));
        Self { key: event.stream.clone(), position: event.position, error }
    }

    /// An event that a newer build wrote.
    pub(super) fn unknown(event: &RawEvent) -> Self {
        let error = format!(
            "event {} has type `{}` in schema version {}, which this build does not know; deploy a \
             build that does, or skip the event",
            event.position, event.event_type, event.schema_version
        );
        Self { key: event.stream.clone(), position: event.position, error }
    }
}

/// The key of an event that depends on no other and that no other depends on: if it cannot be
/// handled, it is parked alone.
pub fn single_event(event: &RawEvent) -> StreamId {
    StreamId::new(SINGLE, event.position)
}

/// Position of the event that `key` stands for; none if `key` is a stream.
pub(super) fn position_of_single(key: &StreamId) -> Option<Position> {
    (key.category() == SINGLE).then(|| key.key().parse().ok().map(Position)).flatten()
}
