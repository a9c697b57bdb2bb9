//! Counters and latencies that all senders add to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;

/// Precision of latencies, in decimal digits.
const DIGITS: u8 = 3;
/// A longer latency is recorded as this one.
const LONGEST: Duration = Duration::from_hours(1);
/// Distinct failures; further ones are counted together.
const TROUBLES: usize = 32;

/// When the first message is due, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) at: Instant,
    pub(crate) wall: DateTime<Utc>,
}

impl Start {
    /// Now.
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), wall: Utc::now() }
    }
}

/// An empty histogram of latencies in microseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    let longest = LONGEST.as_secs() * 1_000_000;
    Histogram::new_with_bounds(1, longest, DIGITS).expect("the bounds are in order")
}

/// The counters and latencies of all senders.
#[derive(Debug)]
pub(crate) struct Stats {
    started: watch::Sender<Option<Start>>,
    /// Messages sent, each counted once.
    sent: AtomicU64,
    /// Messages sent again.
    resent: AtomicU64,
    /// Messages acknowledged, each counted once.
    acknowledged: AtomicU64,
    /// Messages refused permanently.
    refused: AtomicU64,
    latencies: Mutex<Histogram<u64>>,
    troubles: Mutex<BTreeMap<String, u64>>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) resent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            started: watch::Sender::new(None),
            sent: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            latencies: Mutex::new(histogram()),
            troubles: Mutex::default(),
        }
    }

    /// Starts the schedule: every sender is ready.
    pub(crate) fn start(&self) -> Start {
        let start = Start::now();
        self.started.send_replace(Some(start));
        start
    }

    /// Waits for the start of the schedule.
    pub(crate) async fn started(&self) -> Start {
        let mut started = self.started.subscribe();
        loop {
            if let Some(start) = *started.borrow_and_update() {
                return start;
            }
            if started.changed().await.is_err() {
                std::future::pending::<()>().await; // Unreachable: the sender is `self`.
            }
        }
    }

    /// Counts a message sent.
    pub(crate) fn sent(&self, again: bool) {
        let counter = if again { &self.resent } else { &self.sent };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts acknowledged messages, by the time since they were due.
    pub(crate) fn acknowledged(&self, waited: &[Duration]) {
        self.acknowledged.fetch_add(waited.len() as u64, Ordering::Relaxed);
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        for waited in waited {
            record(&mut latencies, *waited);
        }
    }

    /// Counts a message refused permanently.
    pub(crate) fn refused(&self, why: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.trouble(why);
    }

    /// Counts a failure that the run outlives.
    pub(crate) fn trouble(&self, what: String) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let full = troubles.len() >= TROUBLES && !troubles.contains_key(&what);
        *troubles.entry(if full { "other".into() } else { what }).or_default() += 1;
    }

    /// The counters now.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            // In this order, so that acknowledged never exceeds sent.
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            resent: self.resent.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    /// The latencies from due to acknowledged.
    pub(crate) fn latencies(&self) -> Histogram<u64> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The failures, with their number.
    pub(crate) fn troubles(&self) -> BTreeMap<String, u64> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds a latency to a histogram.
pub(crate) fn record(latencies: &mut Histogram<u64>, waited: Duration) {
    let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
    latencies.saturating_record(micros);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_latencies_are_recorded_with_the_same_precision() {
        let mut latencies = histogram();
        let millis = [1, 40, 5_000, 60_000].map(Duration::from_millis);
        for waited in millis.into_iter().chain([Duration::from_hours(2)]) {
            record(&mut latencies, waited);
        }
        let recorded: Vec<u64> =
            latencies.iter_recorded().map(|at| at.value_iterated_to()).collect();
        let expected = [1_000, 40_000, 5_000_000, 60_000_000, 3_600_000_000];
        for (recorded, expected) in recorded.iter().zip(expected) {
            assert!(recorded.abs_diff(expected) <= expected / 1_000, "{recorded}");
        }
        assert_eq!(latencies.len(), 5);
    }
}
