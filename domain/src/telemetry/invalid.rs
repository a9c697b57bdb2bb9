//! Why a message is not accepted as a reading.

use super::id::InvalidId;
use super::limits::{MAX_BOOT_ID_BYTES, MAX_BYTES};
use crate::time_window::OutsideWindow;
use eventsourcing::event::Position;
use eventsourcing::json::{Fault, ReadError, Reason};

/// Why a message is not a reading.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReading {
    /// The payload is larger than [`Reading::MAX_BYTES`](super::Reading::MAX_BYTES).
    #[error("a reading is at most {} bytes", MAX_BYTES)]
    TooLarge,
    /// The payload is not JSON.
    #[error("not a reading: {0}")]
    NotAReading(serde_json::Error),
    /// The payload, or a value in it, is not of the right type, exceeds a limit, or is ambiguous.
    #[error("not a reading: {0}")]
    Fault(Fault),
    /// The named field is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// The user or device id is invalid.
    #[error("{0}")]
    Id(#[from] InvalidId),
    /// The time is too early or too late.
    #[error(transparent)]
    Time(#[from] OutsideWindow),
    /// The reading has more further fields than this.
    #[error("a reading has at most {0} further fields")]
    Fields(usize),
    /// The named field differs from the topic.
    #[error("`{0}` names another device than the topic")]
    OtherDevice(&'static str),
    /// The boot id is longer than [`Reading::MAX_BOOT_ID_BYTES`](super::Reading::MAX_BOOT_ID_BYTES).
    #[error("`boot_id` is at most {} bytes", MAX_BOOT_ID_BYTES)]
    BootId,
    /// The log has another reading with the same sequence number.
    #[error(
        "`sequence_id` {sequence_id} was recorded before with other values, at position {position}; a \
         device whose counter restarts sends a new `boot_id`, or its birth message first"
    )]
    Repeated {
        /// The sequence number.
        sequence_id: i64,
        /// Position of the other reading.
        position: Position,
    },
}

impl InvalidReading {
    /// Returns the name of the fault in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotAReading(_) => "not_a_reading",
            Self::Fault(fault) => match fault.reason {
                Reason::Type(_) => "not_a_reading",
                Reason::Depth(_) => "depth",
                Reason::Name(_) => "name",
                Reason::Duplicate => "duplicate_member",
                Reason::Surrogate => "lone_surrogate",
                Reason::Nul => "nul",
                Reason::Number(_) => "number",
            },
            Self::Missing(_) => "missing",
            Self::Id(_) => "id",
            Self::Time(_) => "time",
            Self::Fields(_) => "fields",
            Self::OtherDevice(_) => "other_device",
            Self::BootId => "boot_id",
            Self::Repeated { .. } => "repeated",
        }
    }
}

impl From<ReadError> for InvalidReading {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Syntax(error) => Self::NotAReading(error),
            ReadError::Fault(fault) => Self::Fault(fault),
        }
    }
}
