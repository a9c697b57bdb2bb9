//! Verification: whether the log holds exactly the events that were appended, by its hash chain.
//! The verifier keeps one hash, and works on the live log and on a dump of it.

use eventsourcing::Position;
use futures::TryStreamExt;
use serde::Serialize;
use sqlx::Row;

use crate::error::Unavailable;
use crate::hash_chain::{EventHash, event_hash};
use crate::raw::RawEvent;
use crate::read::log_reader::LogReader;
use crate::read::page::{PAGE_BYTES, from_row};

/// An inconsistency of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Position of the event concerned, if there is one.
    pub position: Option<i64>,
    /// Description of the inconsistency.
    pub what: String,
}

impl Finding {
    fn at(position: i64, what: impl Into<String>) -> Self {
        Self { position: Some(position), what: what.into() }
    }
}

/// An event with its stored hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedEvent {
    /// The event.
    pub event: RawEvent,
    /// The stored hash, which may differ from the one of the event.
    pub hash: EventHash,
}

/// Verifies the hash chain event by event, from position 1 on.
#[derive(Debug, Default)]
pub struct ChainVerifier {
    position: Position,
    hash: EventHash,
    recorded_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Number of events checked.
    pub events: u64,
}

impl ChainVerifier {
    /// Returns the position of the last event checked, and its stored hash.
    pub fn at(&self) -> (Position, &[u8]) {
        (self.position, &self.hash)
    }

    /// Checks the next event and returns what is wrong with it.
    ///
    /// The hash is computed from the stored hash of the event before, so that one changed event is
    /// one finding. After a gap the hash cannot be checked.
    pub fn check(&mut self, HashedEvent { event, hash }: HashedEvent) -> Option<Finding> {
        let expected = self.position.0 + 1;
        let here = event.position.0;
        let finding = if here != expected {
            let missing = match here - expected {
                1 => "the event is missing".to_owned(),
                _ => format!("the events up to position {} are missing", here - 1),
            };
            Some(Finding::at(expected, missing))
        } else if event_hash(&self.hash, &event) != hash {
            let what = format!(
                "event {} of stream {} was changed after the append: the stored hash does not match \
                 it and the hash before",
                event.id, event.stream
            );
            Some(Finding::at(here, what))
        } else if self.recorded_at.is_some_and(|before| before > event.recorded_at) {
            Some(Finding::at(here, "the event is older than the event before it"))
        } else {
            None
        };
        self.position = event.position;
        self.recorded_at = Some(event.recorded_at);
        self.hash = hash;
        self.events += 1;
        finding
    }
}

impl LogReader {
    /// Returns the head and its hash.
    pub async fn head_and_hash(&self) -> Result<(Position, EventHash), Unavailable> {
        let row = sqlx::query("select position, hash from log.head").fetch_one(self.pool()).await?;
        Ok((Position(row.try_get(0)?), row.try_get(1)?))
    }

    /// Returns at most `limit` events after `after` with their stored hashes, and at most
    /// [`PAGE_BYTES`](crate::PAGE_BYTES). Empty at the end of the log.
    pub async fn hashed_events(
        &self,
        after: Position,
        limit: i64,
    ) -> Result<Vec<HashedEvent>, Unavailable> {
        let mut rows = sqlx::query(
            "select position, event_id, stream_id, version, event_type, schema_version, data,
                    metadata, recorded_at, hash
             from log.event where position > $1 order by position limit $2",
        )
        .bind(after.0)
        .bind(limit)
        .fetch(self.pool());
        let mut events = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await? {
            let hashed = HashedEvent { event: from_row(&row)?, hash: row.try_get(9)? };
            bytes += hashed.event.weight();
            events.push(hashed);
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(events)
    }

    /// Finds streams whose versions are not 1, 2, 3 and so on, and receipts, checkpoints and parked
    /// streams with a position after the head; at most 100 of each.
    ///
    /// Scans the index of streams and the receipts once.
    pub async fn find_dangling_references(&self) -> Result<Vec<Finding>, Unavailable> {
        let mut findings = Vec::new();
        // Each query reads a position before the head it is compared with.
        let checks = [
            "select min(position), 'stream ' || stream_id || ' has versions with a gap or a repetition'
             from log.event group by stream_id
             having count(*) <> max(version) or min(version) <> 1 order by 1 limit 100",
            "select null::bigint, 'receipt ' || key || ' has position ' || position
                    || ', which is not in the log'
             from log.receipt
             where position < 0 or position > (select position from log.head) limit 100",
            "select null::bigint, 'consumer ' || consumer || ' has its checkpoint at ' || position
                    || ', which is not in the log'
             from log.checkpoint
             where position < 0 or position > (select position from log.head) limit 100",
            "select null::bigint, 'consumer ' || consumer || ' has parked ' || stream_id || ' at '
                    || position || ', which is not in the log'
             from log.parked
             where position < 1 or position > 1 + (select position from log.head) limit 100",
        ];
        for check in checks {
            for row in sqlx::query(check).fetch_all(self.pool()).await? {
                findings.push(Finding { position: row.try_get(0)?, what: row.try_get(1)? });
            }
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use eventsourcing::{StreamId, Version};
    use uuid::Uuid;

    use super::*;

    fn log() -> Vec<HashedEvent> {
        let mut hash = EventHash::new();
        let time = chrono::DateTime::from_timestamp_micros(1).expect("a time");
        (1..=5)
            .map(|position| {
                let event = RawEvent {
                    position: Position(position),
                    id: Uuid::from_u128(7),
                    stream: StreamId::parse("a-b").expect("a stream"),
                    version: Version(position),
                    event_type: "happened".into(),
                    schema_version: 1,
                    data: "{}".into(),
                    metadata: "{}".into(),
                    recorded_at: time,
                };
                hash = event_hash(&hash, &event);
                HashedEvent { event, hash: hash.clone() }
            })
            .collect()
    }

    fn findings(log: Vec<HashedEvent>) -> Vec<i64> {
        let mut verifier = ChainVerifier::default();
        log.into_iter().filter_map(|event| verifier.check(event)?.position).collect()
    }

    #[test]
    fn a_changed_missing_or_moved_event_is_found() {
        assert!(findings(log()).is_empty());
        let mut changed = log();
        changed[2].event.data = "[]".into();
        assert_eq!(findings(changed), [3]);
        let mut changed = log();
        changed.remove(1);
        assert_eq!(findings(changed), [2]);
        let mut changed = log();
        changed[4].event.position = Position(9);
        assert_eq!(findings(changed), [5]);
    }
}
