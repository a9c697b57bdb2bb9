//! Why the relay stops publishing and resumes.

use async_nats::jetstream;

use crate::{BusError, Unavailable};

/// Why publishing stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("the connection to NATS was lost")]
    Away,
    #[error("another relay publishes")]
    Rival,
    #[error("the server deduplicated a new message")]
    Remembered,
    #[error("no acknowledgement came for 5 s")]
    Stalled,
    #[error("an acknowledgement does not belong to the message sent")]
    OutOfOrder,
    #[error("an acknowledgement cannot be decoded")]
    Unreadable(#[source] serde_json::Error),
    #[error("the server refused a message")]
    Refused(#[source] jetstream::Error),
    #[error("the stream has changed: {0}")]
    Disturbed(&'static str),
    #[error("the log ends before the last published event: it was restored")]
    Rewound,
    #[error("the bus failed")]
    Bus(#[source] BusError),
    #[error(transparent)]
    Log(#[from] Unavailable),
}

impl From<BusError> for Interrupted {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}
