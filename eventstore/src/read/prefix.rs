//! Whether another log is the beginning of this one: the hash at one position, and what comes after it.

use chrono::{DateTime, Utc};
use eventsourcing::Position;

use crate::error::Unavailable;
use crate::hash_chain::EventHash;
use crate::read::log_reader::LogReader;

/// What a log holds at a position and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogAfter {
    /// Hash of the event at the position; empty at position 0, none if the log has no event there.
    /// A log that ends there with the same hash has the same events, because each hash covers the
    /// one before.
    pub hash: Option<EventHash>,
    /// The head.
    pub head: Position,
    /// When the first event after the position was recorded; none if there is none.
    pub next_recorded_at: Option<DateTime<Utc>>,
}

impl LogReader {
    /// Returns what the log holds at `position` and after it, as of one time.
    pub async fn after(&self, position: Position) -> Result<LogAfter, Unavailable> {
        let row = sqlx::query_as(
            "select case when $1 = 0 then ''::bytea
                         else (select hash from log.event where position = $1) end,
                    position,
                    (select recorded_at from log.event where position > $1
                     order by position limit 1)
             from log.head",
        );
        let (hash, head, next_recorded_at) = row.bind(position.0).fetch_one(self.pool()).await?;
        Ok(LogAfter { hash, head: Position(head), next_recorded_at })
    }
}
