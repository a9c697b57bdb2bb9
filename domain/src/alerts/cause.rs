//! The cause of alert events: where a reading or a change of rules stands in the log.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use eventsourcing::event::Position;

/// The event that causes an outcome: a reading or a change of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// Position of the event.
    pub position: Position,
    /// Id of the event.
    pub id: Uuid,
    /// Time at which the event was recorded.
    pub recorded_at: DateTime<Utc>,
}
