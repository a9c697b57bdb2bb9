//! The lag of the last hour, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// Interval between two samples.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Most samples: those of an hour.
const SAMPLES: usize = 360;

/// The lag of each consumer in the last hour, as this process has sampled it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LagHistory)]
pub struct History {
    /// Seconds between two samples. Samples are missing for times when Postgres did not answer.
    interval_seconds: u64,
    /// The samples, oldest first: 360 at most, and none from before this process started.
    #[schema(value_type = Vec<LagSample>)]
    samples: VecDeque<LagSample>,
}

/// The lag at one time.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LagSample {
    /// When the sample was taken.
    pub(super) at: DateTime<Utc>,
    /// Events appended a second since the sample before; null in the first.
    pub(super) events_per_second: Option<f64>,
    /// For each consumer, how many events it is behind the head, and the age of the first of them in
    /// seconds.
    #[schema(value_type = BTreeMap<String, Vec<f64>>)]
    pub(super) consumers: BTreeMap<String, (i64, f64)>,
}

impl Default for History {
    fn default() -> Self {
        Self { interval_seconds: INTERVAL.as_secs(), samples: VecDeque::with_capacity(SAMPLES) }
    }
}

impl History {
    /// Adds a sample, in place of the oldest if there is an hour of them.
    pub(super) fn push(&mut self, sample: LagSample) {
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept() {
        let mut history = History::default();
        for second in 0..400 {
            let at = DateTime::from_timestamp(second * 10, 0).unwrap();
            let consumers = BTreeMap::new();
            history.push(LagSample { at, events_per_second: None, consumers });
        }
        assert_eq!(history.samples.len(), 360);
        assert_eq!(history.samples[0].at.timestamp(), 400);
    }
}
