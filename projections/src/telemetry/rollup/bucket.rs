//! The state of one bucket of time, and how buckets are added together.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use eventsourcing::Position;

use super::sum::Sum;

pub(super) use crate::spans::WIDTHS;

/// A value and the time of its reading; the position orders equal times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Sample {
    pub(in super::super) at: DateTime<Utc>,
    pub(in super::super) position: Position,
    pub(in super::super) value: f64,
}

impl Sample {
    fn is_before(&self, other: &Self) -> bool {
        (self.at, self.position) < (other.at, other.position)
    }
}

/// The state of one bucket.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Rollup {
    pub(in super::super) count: i64,
    pub(in super::super) sum: Sum,
    pub(in super::super) min: f64,
    pub(in super::super) max: f64,
    pub(in super::super) first: Sample,
    pub(in super::super) last: Sample,
}

impl Rollup {
    pub(in super::super) fn of(sample: Sample) -> Self {
        let sum = Sum::of(sample.value);
        let Sample { value, .. } = sample;
        Self { count: 1, sum, min: value, max: value, first: sample, last: sample }
    }

    pub(in super::super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum.add(&other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.first.is_before(&self.first) {
            self.first = other.first;
        }
        if self.last.is_before(&other.last) {
            self.last = other.last;
        }
    }
}

/// The values of one field in a batch, by minute.
#[derive(Debug)]
pub(super) struct Minutes {
    /// Minute of the last value since the epoch: the next value most often has the same.
    pub(super) minute: i64,
    pub(super) rollup: Rollup,
    pub(super) others: HashMap<i64, Rollup>,
}

impl Minutes {
    pub(super) fn add(&mut self, minute: i64, rollup: Rollup) {
        if self.minute == minute {
            return self.rollup.add(&rollup);
        }
        let next = match self.others.remove(&minute) {
            Some(mut known) => {
                known.add(&rollup);
                known
            }
            None => rollup,
        };
        let left = std::mem::replace(&mut self.rollup, next);
        self.others.insert(std::mem::replace(&mut self.minute, minute), left);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Rollup)> {
        let others = self.others.iter().map(|(minute, rollup)| (*minute, rollup));
        std::iter::once((self.minute, &self.rollup)).chain(others)
    }

    /// Adds up the minutes that `of` maps to the same wider bucket; it leaves out those it maps to
    /// `None`.
    pub(super) fn wider(&self, of: impl Fn(i64) -> Option<i64>) -> BTreeMap<i64, Rollup> {
        let mut wider = BTreeMap::new();
        for (minute, rollup) in self.iter() {
            if let Some(bucket) = of(minute) {
                wider
                    .entry(bucket)
                    .and_modify(|known: &mut Rollup| known.add(rollup))
                    .or_insert_with(|| rollup.clone());
            }
        }
        wider
    }
}
