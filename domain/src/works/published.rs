//! The published part of works: the category, event types and stream ids that other contexts and the
//! worker may match or build.

use eventsourcing::StreamId;
use uuid::Uuid;

/// Category of the streams of works.
pub const WORK: &str = "work";
/// Event type of a new work, which can be claimed at once.
pub const WORK_DEMANDED: &str = "work_demanded";
/// Event type of a failed attempt, after which the work can be claimed again.
pub const WORK_FAILED: &str = "work_failed";

/// Returns the stream of a work.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(WORK, id)
}
