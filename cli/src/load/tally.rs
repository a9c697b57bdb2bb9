//! What the senders have done so far: figures that all of them add to and the progress bar reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;

/// Decimal digits that latencies are kept to.
const DIGITS: u8 = 3;
/// A longer one is taken for so long.
const LONGEST: Duration = Duration::from_hours(1);
/// Kinds of trouble told apart; what comes beyond is counted together.
const TROUBLES: usize = 32;

/// When the first message is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) at: Instant,
    pub(super) wall: DateTime<Utc>,
}

impl Start {
    /// Now.
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), wall: Utc::now() }
    }
}

/// Latencies in microseconds, none of them yet.
pub(super) fn latencies() -> Histogram<u64> {
    let longest = LONGEST.as_secs() * 1_000_000;
    Histogram::new_with_bounds(1, longest, DIGITS).expect("the bounds are in order")
}

/// The figures of all senders.
#[derive(Debug)]
pub(super) struct Tally {
    started: watch::Sender<Option<Start>>,
    /// Messages sent, each once.
    sent: AtomicU64,
    /// Messages sent another time.
    resent: AtomicU64,
    /// Messages acknowledged, each once.
    acknowledged: AtomicU64,
    /// Messages the other side will never take.
    refused: AtomicU64,
    latency: Mutex<Histogram<u64>>,
    troubles: Mutex<BTreeMap<String, u64>>,
}

/// The figures at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    pub(super) sent: u64,
    pub(super) resent: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            started: watch::Sender::new(None),
            sent: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            latency: Mutex::new(latencies()),
            troubles: Mutex::default(),
        }
    }

    /// Everybody is ready.
    pub(super) fn start(&self) -> Start {
        let start = Start::now();
        self.started.send_replace(Some(start));
        start
    }

    /// Waits until everybody is ready.
    pub(super) async fn started(&self) -> Start {
        let mut started = self.started.subscribe();
        loop {
            if let Some(start) = *started.borrow_and_update() {
                return start;
            }
            if started.changed().await.is_err() {
                std::future::pending::<()>().await; // The sender is our own.
            }
        }
    }

    pub(super) fn sent(&self, again: bool) {
        let counter = if again { &self.resent } else { &self.sent };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Some were acknowledged, so long after they were due.
    pub(super) fn acknowledged(&self, waited: &[Duration]) {
        self.acknowledged.fetch_add(waited.len() as u64, Ordering::Relaxed);
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        for waited in waited {
            record(&mut latency, *waited);
        }
    }

    /// One will never be taken.
    pub(super) fn refused(&self, why: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.trouble(why);
    }

    /// Something went wrong that is survived.
    pub(super) fn trouble(&self, what: String) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let full = troubles.len() >= TROUBLES && !troubles.contains_key(&what);
        *troubles.entry(if full { "other".into() } else { what }).or_default() += 1;
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            // In this order, so that no more are acknowledged than sent.
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            resent: self.resent.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    pub(super) fn latency(&self) -> Histogram<u64> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn troubles(&self) -> BTreeMap<String, u64> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds a latency to a histogram.
pub(super) fn record(latencies: &mut Histogram<u64>, waited: Duration) {
    let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
    latencies.saturating_record(micros);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_are_told_apart() {
        let mut latencies = latencies();
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
