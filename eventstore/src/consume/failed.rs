//! Events that a consumer cannot handle.

use eventsourcing::{Position, StreamId};

use crate::{ErrorChain, RawEvent};

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
    /// An event that cannot be decoded. The one place that decides what becomes of it: today it is
    /// treated like any other failure, also if a newer build wrote the event and can decode it.
    pub fn undecodable(event: &RawEvent, error: &dyn std::error::Error) -> Self {
        let error = format!("cannot decode event {}: {}", event.position, ErrorChain(error));
        Self { key: event.stream.clone(), position: event.position, error }
    }
}
