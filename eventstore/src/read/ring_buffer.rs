//! The ring buffer: the most recent events of the log in memory, without a gap, shared by all
//! subscriptions of the process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventsourcing::Position;

use crate::raw::RawEvent;
use crate::read::filter::Filter;
use crate::read::page::Batch;

/// Capacity of the ring buffer of a [`Feed`](crate::Feed), in bytes of events.
pub const RING_BYTES: usize = 16 * 1024 * 1024;
/// Most events scanned under one lock, so that a subscription does not delay the feed.
const SCAN: usize = 1024;

/// The ring buffer. Its lock is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct RingBuffer(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    events: VecDeque<Arc<RawEvent>>,
    /// Position of the newest event; without events, the position that the buffer starts after.
    last: Position,
    bytes: usize,
}

impl RingBuffer {
    /// Empties the buffer. The next event must be the one after `position`.
    pub(crate) fn restart(&self, position: Position) {
        *self.lock() = Recent { last: position, ..Recent::default() };
    }

    pub(crate) fn last(&self) -> Position {
        self.lock().last
    }

    /// Adds the events that follow the newest without a gap, skips all others, and returns the
    /// newest position.
    pub(crate) fn extend(&self, events: impl IntoIterator<Item = Arc<RawEvent>>) -> Position {
        let mut recent = self.lock();
        for event in events {
            if event.position.0 != recent.last.0 + 1 {
                continue;
            }
            recent.last = event.position;
            recent.bytes += event.weight();
            recent.events.push_back(event);
            while recent.bytes > RING_BYTES
                && let Some(oldest) = recent.events.pop_front()
            {
                recent.bytes -= oldest.weight();
            }
        }
        recent.last
    }

    /// Returns at most `limit` matching events after `after`, or none if the buffer no longer holds
    /// the event after it.
    pub(crate) fn after(&self, after: Position, filter: &Filter, limit: usize) -> Option<Batch> {
        let mut batch = Batch { events: Vec::new(), through: after };
        loop {
            let recent = self.lock();
            let held = i64::try_from(recent.events.len()).unwrap_or(i64::MAX);
            let skip = batch.through.0 - (recent.last.0 - held);
            let Ok(skip) = usize::try_from(skip) else {
                // The next event is no longer in the buffer; return what was found before it.
                return (batch.through > after).then_some(batch);
            };
            let mut seen = 0;
            for event in recent.events.iter().skip(skip).take(SCAN) {
                seen += 1;
                batch.through = event.position;
                if filter.matches(event) {
                    batch.events.push(Arc::clone(event));
                    if batch.events.len() >= limit {
                        return Some(batch);
                    }
                }
            }
            if seen < SCAN {
                return Some(batch);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
