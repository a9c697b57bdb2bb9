//! Readings whose event id the log has already: repetitions, restarted counters, and conflicts.

use std::time::Duration;

use domain::telemetry::restart::{Recent, restarted_since};
use domain::telemetry::{Event, Reading};
use eventsourcing::{Metadata, Position, StreamId};
use eventstore::{
    Append, AppendError, Appended, EventStore, ExpectedVersion, NewEvent, RawEvent, Unavailable,
};
use tokio::sync::Semaphore;

use crate::stream_locks::StreamLocks;

/// Readings that are compared with the log at a time: leaves connections to others.
const AT_ONCE: usize = 4;
/// Newest events of a device in which a restart is searched for.
const NEWEST: usize = 100;

/// Decides about readings that the log has already.
#[derive(Debug)]
pub struct Repetitions {
    store: EventStore,
    silence: Duration,
    comparing: Semaphore,
    /// Of a device, one reading is decided about at a time, in the order of their arrival: readings after
    /// a restart are recorded in the order in which they were measured.
    locks: StreamLocks,
}

/// What became of a reading whose event id the log has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    /// The log has the same reading, at this position.
    Duplicate(Position),
    /// The device's counter has restarted: the reading was recorded at this position.
    Restarted(Position),
    /// The log has another reading with this sequence number, at this position.
    Conflict(i64, Position),
}

impl Repetitions {
    /// A device that sends nothing for longer than `silence` may have restarted its counter.
    pub fn new(store: EventStore, silence: Duration) -> Self {
        let comparing = Semaphore::new(AT_ONCE);
        Self { store, silence, comparing, locks: StreamLocks::new() }
    }

    /// Compares an event with that at `position`, which has its id, and records it if it is a reading of
    /// a counter that has restarted. Any other event is a duplicate.
    pub async fn settle(
        &self,
        stream: &StreamId,
        event: &NewEvent,
        position: Position,
        metadata: &Metadata,
    ) -> Result<Repeated, AppendError> {
        let Some(reading) = reading(&event.encoded.event_type, &event.encoded.data) else {
            return Ok(Repeated::Duplicate(position));
        };
        let _one = self.locks.lock(stream).await;
        if self.is_same(&reading, position).await? {
            return Ok(Repeated::Duplicate(position));
        }
        let conflict = Repeated::Conflict(reading.sequence_id, position);
        if !reading.boot_id.is_empty() {
            return Ok(conflict);
        }
        let newest = self.store.newest_of_stream(stream, NEWEST).await?;
        let newest: Vec<_> = newest.iter().filter_map(recent).collect();
        // A redelivery, possibly after a silence, of a reading of the restarted counter.
        if let Some(same) = newest.iter().find(|recent| recent.is_repeated_by(&reading)) {
            return Ok(Repeated::Duplicate(same.position));
        }
        let now = self.store.now().await?;
        let Some(restart) = restarted_since(position, &newest, now, self.silence) else {
            return Ok(conflict);
        };
        let (id, reading) = reading.of_restart(event.id, restart);
        let event = NewEvent::with_id(id, &Event::ReadingRecorded(reading.clone()))?;
        let request = Append::to(stream.clone(), ExpectedVersion::Any, vec![event]);
        match self.store.append(request.metadata(metadata.clone())).await? {
            Appended::New { position, .. } => {
                metrics::counter!("tributary_readings_restarted_total").increment(1);
                Ok(Repeated::Restarted(position))
            }
            Appended::Duplicate { position } if self.is_same(&reading, position).await? => {
                Ok(Repeated::Duplicate(position))
            }
            Appended::Duplicate { position } => {
                Ok(Repeated::Conflict(reading.sequence_id, position))
            }
            Appended::Replayed(receipt) => Ok(Repeated::Duplicate(receipt.position)),
        }
    }

    /// Whether the event at `position` is a reading with the same values.
    async fn is_same(&self, other: &Reading, position: Position) -> Result<bool, Unavailable> {
        let _permit = self.comparing.acquire().await;
        let recorded = self.store.at_positions(&[position]).await?;
        let recorded = recorded.first().and_then(|event| reading(&event.event_type, &event.data));
        Ok(recorded.is_none_or(|recorded| recorded.has_values_of(other)))
    }
}

fn recent(raw: &RawEvent) -> Option<Recent> {
    let event = raw.event().ok()?;
    Some(Recent { position: raw.position, recorded_at: raw.recorded_at, event })
}

/// The reading of an event; `None` if it is another event.
fn reading(event_type: &str, data: &str) -> Option<Reading> {
    if event_type != domain::telemetry::READING_RECORDED {
        return None;
    }
    serde_json::from_str(data).ok()
}
