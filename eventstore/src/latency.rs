//! Durations of the last minute, for percentiles: a histogram for each ten seconds, in constant
//! memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time that one histogram covers.
const SLOT: Duration = Duration::from_secs(10);
/// Histograms that are kept; together a minute.
const SLOTS: usize = 6;
/// Buckets in a doubling of the duration: a percentile is wrong by 6 % at most.
const STEPS: usize = 8;
/// Doublings of a microsecond; longer durations, from two minutes on, count as the longest.
const DOUBLINGS: usize = 27;
const BUCKETS: usize = DOUBLINGS * STEPS;

/// The durations of the last minute. Clones share them.
#[derive(Debug, Clone)]
pub struct Latency(Arc<Mutex<Recorded>>);

#[derive(Debug)]
struct Recorded {
    started: Instant,
    total: u64,
    slots: [Slot; SLOTS],
}

#[derive(Debug, Clone)]
struct Slot {
    /// Which ten seconds since the start.
    number: u64,
    counts: Box<[u32; BUCKETS]>,
}

impl Default for Latency {
    fn default() -> Self {
        let slots = std::array::from_fn(|_| Slot { number: 0, counts: Box::new([0; BUCKETS]) });
        Self(Arc::new(Mutex::new(Recorded { started: Instant::now(), total: 0, slots })))
    }
}

impl Latency {
    /// Records durations that have just ended.
    pub fn record(&self, durations: impl IntoIterator<Item = Duration>) {
        let mut recorded = self.lock();
        let number = recorded.number();
        for duration in durations {
            recorded.total += 1;
            let slot = &mut recorded.slots[place(number)];
            if slot.number != number {
                *slot = Slot { number, counts: Box::new([0; BUCKETS]) };
            }
            let count = &mut slot.counts[bucket(duration)];
            *count = count.saturating_add(1);
        }
    }

    /// Returns the number of durations recorded since the start.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// Returns the duration that each of `shares`, between 0 and 1, of the last minute's durations did
    /// not exceed; none if nothing was recorded in the last minute.
    pub fn percentiles<const N: usize>(&self, shares: [f64; N]) -> Option<[Duration; N]> {
        let recorded = self.lock();
        let oldest = (recorded.number() + 1).saturating_sub(SLOTS as u64);
        let mut counts = [0_u64; BUCKETS];
        for slot in recorded.slots.iter().filter(|slot| slot.number >= oldest) {
            for (sum, count) in counts.iter_mut().zip(slot.counts.iter()) {
                *sum += u64::from(*count);
            }
        }
        drop(recorded);
        let total: u64 = counts.iter().sum();
        (total > 0).then(|| shares.map(|share| percentile(&counts, total, share)))
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    fn number(&self) -> u64 {
        self.started.elapsed().as_secs() / SLOT.as_secs()
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default() % SLOTS
}

fn bucket(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2() as usize;
    if doubling >= DOUBLINGS {
        return BUCKETS - 1;
    }
    // Between STEPS and twice as much.
    let step = (micros * STEPS as u64) >> doubling;
    doubling * STEPS + usize::try_from(step).unwrap_or(STEPS) - STEPS
}

/// The middle of a bucket.
fn middle(bucket: usize) -> Duration {
    let (doubling, step) = (bucket / STEPS, bucket % STEPS);
    let halves = (2 * (STEPS + step) + 1) as u64;
    Duration::from_nanos(((1000 * halves) << doubling) / (2 * STEPS as u64))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count is positive, and exact enough"
)]
fn percentile(counts: &[u64], total: u64, share: f64) -> Duration {
    let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total);
    let mut seen = 0;
    let found = counts.iter().position(|count| {
        seen += count;
        seen >= wanted
    });
    middle(found.unwrap_or(BUCKETS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near_what_was_recorded() {
        let latency = Latency::default();
        assert_eq!(latency.percentiles([0.5]), None);
        latency.record((1..=1000).map(Duration::from_millis));
        let [half, most, all] = latency.percentiles([0.5, 0.99, 1.0]).expect("recorded");
        for (found, expected) in [(half, 500.0), (most, 990.0), (all, 1000.0)] {
            let ratio = found.as_secs_f64() * 1000.0 / expected;
            assert!((0.93..1.07).contains(&ratio), "{found:?} for {expected} ms");
        }
        assert_eq!(latency.total(), 1000);
    }

    #[test]
    fn every_duration_has_a_bucket() {
        for micros in [0, 1, 2, 3, 7, 8, 9, 1000, 65_535, u64::MAX] {
            assert!(bucket(Duration::from_micros(micros)) < BUCKETS, "{micros}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        let found: Vec<_> = (0..BUCKETS).map(|at| bucket(middle(at))).collect();
        assert!(found.is_sorted());
    }
}
