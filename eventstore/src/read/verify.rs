//! Walking the chain: is the log what was appended, every event of it, in its place? The walker
//! holds one event's hash and no more; the same verifier does for the live log and for a dump.

use eventsourcing::Position;
use futures::TryStreamExt;
use serde::Serialize;
use sqlx::Row;

use crate::hash_chain::{EventHash, event_hash};
use crate::raw::RawEvent;
use crate::read::from_row;
use crate::{EventStore, Unavailable};

/// Something that is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of the event concerned, if it is about one.
    pub position: Option<i64>,
    pub what: String,
}

impl Finding {
    fn at(position: i64, what: impl Into<String>) -> Self {
        Self { position: Some(position), what: what.into() }
    }
}

/// An event with the hash that the log has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedEvent {
    pub event: RawEvent,
    pub hash: EventHash,
}

/// Goes from event to event.
#[derive(Debug, Default)]
pub struct ChainVerifier {
    position: Position,
    hash: EventHash,
    recorded_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Events walked past.
    pub events: u64,
}

impl ChainVerifier {
    /// Where it is, and the hash that the log has of the event there.
    pub fn at(&self) -> (Position, &[u8]) {
        (self.position, &self.hash)
    }

    /// Looks at the next event. Each is judged by what the log says of the one before, so that one
    /// wrong event is one finding. Behind a gap there is nothing to judge the hash by.
    pub fn check(&mut self, HashedEvent { event, hash }: HashedEvent) -> Option<Finding> {
        let expected = self.position.0 + 1;
        let here = event.position.0;
        let finding = if here != expected {
            let missing = match here - expected {
                1 => "it is missing".to_owned(),
                _ => format!("it and all after it up to {} are missing", here - 1),
            };
            Some(Finding::at(expected, missing))
        } else if event_hash(&self.hash, &event) != hash {
            let what = format!(
                "event {} of stream {} is not what was appended: its hash does not fit it and the \
                 event before",
                event.id, event.stream
            );
            Some(Finding::at(here, what))
        } else if self.recorded_at.is_some_and(|before| before > event.recorded_at) {
            Some(Finding::at(here, "it was recorded before the event before it"))
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

impl EventStore {
    /// The end of the log, and the hash it has there.
    pub async fn head_and_hash(&self) -> Result<(Position, EventHash), Unavailable> {
        let row = sqlx::query("select position, hash from log.head").fetch_one(&self.pool).await?;
        Ok((Position(row.try_get(0)?), row.try_get(1)?))
    }

    /// Up to `limit` events after `after` with their hashes; nothing is the end.
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
        .fetch(&self.pool);
        let mut hashed_events = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await? {
            let event_hash = HashedEvent { event: from_row(&row)?, hash: row.try_get(9)? };
            bytes += event_hash.event.weight();
            hashed_events.push(event_hash);
            if bytes >= crate::PAGE_BYTES {
                break;
            }
        }
        Ok(hashed_events)
    }

    /// What is wrong around the events: streams whose versions do not count them, and whatever
    /// points at positions that the log does not have. Postgres goes through the index of streams
    /// for it once, and through the receipts.
    pub async fn find_dangling_references(&self) -> Result<Vec<Finding>, Unavailable> {
        let mut findings = Vec::new();
        // A hundred of each say enough. What moves is read before what it is held against.
        let checks = [
            "select min(position), 'versions of stream ' || stream_id || ' do not count its events'
             from log.event group by stream_id
             having count(*) <> max(version) or min(version) <> 1 order by 1 limit 100",
            "select null::bigint, 'receipt ' || key || ' points at position ' || position
             from log.receipt
             where position < 0 or position > (select position from log.head) limit 100",
            "select null::bigint, 'consumer ' || consumer || ' stands at ' || position
                    || ', which the log has not come to'
             from log.checkpoint
             where position < 0 or position > (select position from log.head) limit 100",
            "select null::bigint, 'consumer ' || consumer || ' has parked ' || stream_id || ' at '
                    || position || ', which the log has not come to'
             from log.parked
             where position < 1 or position > 1 + (select position from log.head) limit 100",
        ];
        for check in checks {
            for row in sqlx::query(check).fetch_all(&self.pool).await? {
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

    fn verifier(log: Vec<HashedEvent>) -> Vec<i64> {
        let mut verifier = ChainVerifier::default();
        log.into_iter().filter_map(|event_hash| verifier.check(event_hash)?.position).collect()
    }

    #[test]
    fn each_wrong_event_is_named() {
        assert!(verifier(log()).is_empty());
        let mut changed = log();
        changed[2].event.data = "[]".into();
        assert_eq!(verifier(changed), [3]);
        let mut changed = log();
        changed.remove(1);
        assert_eq!(verifier(changed), [2]);
        let mut changed = log();
        changed[4].event.position = Position(9);
        assert_eq!(verifier(changed), [5]);
    }
}
