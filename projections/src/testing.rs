//! Recorded events for the tests of projections.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use eventsourcing::{Metadata, Position, Recorded, StreamId, Version};
use uuid::Uuid;

use crate::projection::Projection;

/// The event of a golden file: of `context`, of this type, in version 1.
pub(crate) fn golden<E: eventsourcing::Event>(context: &str, event_type: &str) -> E {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/../domain/golden/{context}/{event_type}.v1.json");
    let data = std::fs::read_to_string(&path).unwrap();
    eventsourcing::event::decode(event_type, 1, &data).unwrap()
}

/// So many seconds after the epoch.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// An event at this position, which is also its version, and its time in seconds.
pub(crate) fn recorded<E>(stream: &StreamId, position: i64, event: E) -> Recorded<E> {
    Recorded {
        position: Position(position),
        id: Uuid::from_u128(position.unsigned_abs().into()),
        stream: stream.clone(),
        version: Version(position),
        recorded_at: at(position),
        metadata: Metadata::default(),
        event,
    }
}

/// The changes of a batch of events, whose positions and times count from 1; so do the versions of
/// each stream.
pub(crate) fn fold<P: Projection>(
    events: impl IntoIterator<Item = (StreamId, P::Event)>,
) -> P::Changes {
    let mut versions = HashMap::<StreamId, i64>::new();
    let mut changes = P::Changes::default();
    for (position, (stream, event)) in (1..).zip(events) {
        let version = versions.entry(stream.clone()).or_default();
        *version += 1;
        let recorded =
            Recorded { version: Version(*version), ..recorded(&stream, position, event) };
        P::project(&mut changes, recorded);
    }
    changes
}
