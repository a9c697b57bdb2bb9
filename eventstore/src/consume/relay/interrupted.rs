//! Why the relay stops publishing and resumes.

use async_nats::jetstream;
use eventsourcing::Position;

use crate::{BusError, Unavailable};

/// Why publishing stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("NATS is not connected; check --nats-url and the server")]
    Away,
    /// Another relay has published the event.
    #[error("another relay publishes")]
    Rival,
    /// Another relay or a foreign program has published a message where this position was expected.
    #[error("another program has published to stream EVENTS before position {0}")]
    Overtaken(Position),
    #[error("the server deduplicated a new message")]
    Remembered,
    #[error(
        "NATS did not acknowledge position {0} within 5 s; if its disk was full, free space and \
         restart nats-server"
    )]
    Stalled(Position),
    #[error(
        "NATS did not store position {0} and refused the next ones; if its disk was full, free \
         space and restart nats-server, which stores nothing more after a failed write"
    )]
    NotStored(Position),
    #[error("position {0} was acknowledged with another sequence")]
    OutOfOrder(Position),
    #[error("an acknowledgement cannot be decoded")]
    Unreadable(#[source] serde_json::Error),
    #[error("NATS refused to store position {0}")]
    Refused(Position, #[source] jetstream::Error),
    #[error("stream EVENTS has changed: {0}")]
    Disturbed(&'static str),
    #[error("the log has lost published events")]
    Rewound,
    #[error("cannot use stream EVENTS")]
    Bus(#[source] BusError),
    #[error(transparent)]
    Log(#[from] Unavailable),
}

impl From<BusError> for Interrupted {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}
