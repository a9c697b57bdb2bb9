//! The outcome of an append request.

use chrono::{DateTime, Utc};
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
        /// Time at which the request was recorded, as in its events and its receipt.
        recorded_at: DateTime<Utc>,
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

/// Where an event of a request is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Position of the event.
    pub position: Position,
    /// Whether the request wrote the event. If not, the log already had it, or the request holds it
    /// twice.
    pub is_new: bool,
}

impl Appended {
    /// Returns the places of the events of the request, whose `ids` are given in its order. Empty for
    /// [`Self::Duplicate`] and [`Self::Replayed`], which know only one position.
    pub fn places(&self, ids: &[Uuid]) -> Vec<Placed> {
        let Self::New { position, known, .. } = self else { return Vec::new() };
        let written = i64::try_from(ids.len().saturating_sub(known.len())).unwrap_or(i64::MAX);
        let mut next = position.0 - written + 1;
        let mut known = known.iter().peekable();
        let places = ids.iter().map(|id| {
            // The first of two equal events is written, and the second one is known by its position.
            if let Some(known) = known.next_if(|at| at.id == *id && at.position.0 < next) {
                return Placed { position: known.position, is_new: false };
            }
            next += 1;
            Placed { position: Position(next - 1), is_new: true }
        });
        places.collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_placed_in_the_order_of_the_request() {
        let ids: Vec<_> = [7, 1, 2, 1, 7, 3].map(Uuid::from_u128).into();
        // 7 is in the log, 1 is in the request twice; 1, 2 and 3 are written.
        let known = [(7, 4), (1, 10), (7, 4)];
        let known = known.map(|(id, at)| Known { id: Uuid::from_u128(id), position: Position(at) });
        let appended = Appended::New {
            position: Position(12),
            version: Version(5),
            recorded_at: DateTime::UNIX_EPOCH,
            known: known.into(),
        };
        let places = appended.places(&ids);
        let places: Vec<_> = places.iter().map(|at| (at.position.0, at.is_new)).collect();
        let expected = [(4, false), (10, true), (11, true), (10, false), (4, false), (12, true)];
        assert_eq!(places, expected);
    }
}
