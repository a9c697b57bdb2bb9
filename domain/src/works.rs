//! Works: add the numbers up to a bound. Small on purpose; what matters is that each is done once,
//! whatever dies in between.
//!
//! ```text
//! demanded ──► claimed ──► started ──► completed
//!    ▲            │  lease ends  │
//!    │            ▼              ▼
//!    └──────── failed ◄──────────┘ ──► given up
//! ```
//! A claim carries a lease. When it ends, another worker may claim; the attempt number tells a
//! late answer of the first from that of the second.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::context::Context;
use crate::decider::{Decider, Decision, accept, nothing, reject};
use crate::event::StreamId;
use crate::rejection::{Kind, Reject};

const TYPES: &[(&str, i16)] = &[
    ("work_demanded", 1),
    ("work_claimed", 1),
    ("work_started", 1),
    ("work_completed", 1),
    ("work_failed", 1),
    ("work_given_up", 1),
];

pub const CONTEXT: Context =
    Context { name: "works", categories: &[Work::CATEGORY], event_types: TYPES };

/// The stream of one work.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(Work::CATEGORY, id)
}

/// What happened to a work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Somebody asked for the numbers up to `add_up_to` to be added.
    WorkDemanded {
        /// `api-…` when it came over HTTP, `consumer-…` when it came over the bus.
        work_code: String,
        add_up_to: u32,
    },
    /// A worker took it, alone, until `lease_until`.
    WorkClaimed {
        worker: String,
        /// Counted from 1.
        attempt: u32,
        lease_until: DateTime<Utc>,
    },
    /// The worker began to add.
    WorkStarted { attempt: u32 },
    /// Done. `result` is the sum of 0 to `add_up_to`, both included.
    WorkCompleted { attempt: u32, result: u64 },
    /// This attempt failed; the next may be claimed at `retry_at`.
    WorkFailed { attempt: u32, reason: String, retry_at: DateTime<Utc> },
    /// No attempt is left.
    WorkGivenUp { attempts: u32, reason: String },
}

impl crate::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// How often, and how patiently, a failing work is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    pub max_attempts: u32,
    /// Wait after the first failure; it doubles with each further one.
    pub backoff: Duration,
}

impl RetryPolicy {
    /// No wait is longer than this.
    pub const MAX_BACKOFF: Duration = Duration::from_secs(300);

    fn retry_at(self, attempt: u32, now: DateTime<Utc>) -> DateTime<Utc> {
        let doubled = self.backoff.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        now + doubled.min(Self::MAX_BACKOFF)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Demand { work_code: String, add_up_to: u32 },
    Claim { worker: String, now: DateTime<Utc>, lease: Duration, retry: RetryPolicy },
    Start { attempt: u32 },
    Complete { attempt: u32, result: u64 },
    Fail { attempt: u32, reason: String, now: DateTime<Utc>, retry: RetryPolicy },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("this work was demanded before, with another bound or code")]
    AlreadyDemanded,
    #[error("nobody demanded this work")]
    NotDemanded,
    #[error("another worker holds the lease on this work")]
    Leased,
    #[error("the next attempt is not due yet")]
    NotDue,
    #[error("another attempt has taken over")]
    Superseded,
    #[error("this work is finished")]
    Finished,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::NotDemanded => Kind::NotFound,
            Self::AlreadyDemanded
            | Self::Leased
            | Self::NotDue
            | Self::Superseded
            | Self::Finished => Kind::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyDemanded => "work_already_demanded",
            Self::NotDemanded => "work_not_found",
            Self::Leased => "work_leased",
            Self::NotDue => "work_not_due",
            Self::Superseded => "work_superseded",
            Self::Finished => "work_finished",
        }
    }
}

/// A work as its history leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Work {
    #[default]
    Undemanded,
    /// Waiting for its first attempt.
    Demanded {
        work_code: String,
        add_up_to: u32,
    },
    /// An attempt holds the lease.
    Claimed {
        add_up_to: u32,
        attempt: u32,
        lease_until: DateTime<Utc>,
        started: bool,
    },
    /// Waiting for its next attempt.
    Failed {
        add_up_to: u32,
        attempt: u32,
        retry_at: DateTime<Utc>,
    },
    Completed {
        attempt: u32,
        result: u64,
    },
    GivenUp,
}

impl Decider for Work {
    const CATEGORY: &'static str = "work";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Demand { work_code, add_up_to }, Self::Undemanded) => {
                accept(Event::WorkDemanded { work_code, add_up_to })
            }
            (
                Command::Demand { work_code, add_up_to },
                Self::Demanded { work_code: code, add_up_to: bound },
            ) if work_code == *code && add_up_to == *bound => nothing(),
            (Command::Demand { .. }, _) => reject(Rejection::AlreadyDemanded),
            (_, Self::Undemanded) => reject(Rejection::NotDemanded),

            (Command::Claim { worker, now, lease, .. }, Self::Demanded { .. }) => {
                accept(Event::WorkClaimed { worker, attempt: 1, lease_until: now + lease })
            }
            (Command::Claim { worker, now, lease, .. }, Self::Failed { attempt, retry_at, .. }) => {
                if now < *retry_at {
                    return reject(Rejection::NotDue);
                }
                let attempt = attempt + 1;
                accept(Event::WorkClaimed { worker, attempt, lease_until: now + lease })
            }
            (
                Command::Claim { worker, now, lease, retry },
                Self::Claimed { attempt, lease_until, .. },
            ) => {
                if now < *lease_until {
                    return reject(Rejection::Leased);
                }
                if *attempt >= retry.max_attempts {
                    let reason = "the lease of the last attempt ended without an answer".into();
                    return accept(Event::WorkGivenUp { attempts: *attempt, reason });
                }
                let attempt = attempt + 1;
                accept(Event::WorkClaimed { worker, attempt, lease_until: now + lease })
            }
            (Command::Claim { .. }, Self::Completed { .. } | Self::GivenUp) => {
                reject(Rejection::Finished)
            }

            (Command::Start { attempt }, Self::Claimed { attempt: current, started, .. })
                if attempt == *current =>
            {
                if *started {
                    nothing()
                } else {
                    accept(Event::WorkStarted { attempt })
                }
            }
            (Command::Complete { attempt, result }, Self::Claimed { attempt: current, .. })
                if attempt == *current =>
            {
                accept(Event::WorkCompleted { attempt, result })
            }
            (
                Command::Complete { attempt, result },
                Self::Completed { attempt: done_by, result: known },
            ) if attempt == *done_by && result == *known => nothing(),
            (
                Command::Fail { attempt, reason, now, retry },
                Self::Claimed { attempt: current, .. },
            ) if attempt == *current => {
                let retry_at = retry.retry_at(attempt, now);
                let failed = Event::WorkFailed { attempt, reason: reason.clone(), retry_at };
                if attempt < retry.max_attempts {
                    return accept(failed);
                }
                Ok(vec![failed, Event::WorkGivenUp { attempts: attempt, reason }])
            }
            (
                Command::Start { .. } | Command::Complete { .. } | Command::Fail { .. },
                Self::Demanded { .. } | Self::Claimed { .. } | Self::Failed { .. },
            ) => reject(Rejection::Superseded),
            (
                Command::Start { .. } | Command::Complete { .. } | Command::Fail { .. },
                Self::Completed { .. } | Self::GivenUp,
            ) => reject(Rejection::Finished),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        let bound = self.add_up_to();
        match event {
            Event::WorkDemanded { work_code, add_up_to } => {
                Self::Demanded { work_code: work_code.clone(), add_up_to: *add_up_to }
            }
            Event::WorkClaimed { attempt, lease_until, .. } => Self::Claimed {
                add_up_to: bound,
                attempt: *attempt,
                lease_until: *lease_until,
                started: false,
            },
            Event::WorkStarted { .. } => match self {
                Self::Claimed { add_up_to, attempt, lease_until, .. } => {
                    Self::Claimed { add_up_to, attempt, lease_until, started: true }
                }
                Self::Undemanded
                | Self::Demanded { .. }
                | Self::Failed { .. }
                | Self::Completed { .. }
                | Self::GivenUp => self,
            },
            Event::WorkCompleted { attempt, result } => {
                Self::Completed { attempt: *attempt, result: *result }
            }
            Event::WorkFailed { attempt, retry_at, .. } => {
                Self::Failed { add_up_to: bound, attempt: *attempt, retry_at: *retry_at }
            }
            Event::WorkGivenUp { .. } => Self::GivenUp,
        }
    }
}

impl Work {
    /// The bound an open work was demanded with; 0 for one that is not open.
    pub fn add_up_to(&self) -> u32 {
        match self {
            Self::Demanded { add_up_to, .. }
            | Self::Claimed { add_up_to, .. }
            | Self::Failed { add_up_to, .. } => *add_up_to,
            Self::Undemanded | Self::Completed { .. } | Self::GivenUp => 0,
        }
    }
}

/// Numbers added between two looks at `stop`.
const CHUNK: u64 = 1 << 20;

/// Adds the numbers 0 to `bound`, one by one, asking `stop` every million; `None` when told to.
pub fn add_up_to(bound: u32, mut stop: impl FnMut() -> bool) -> Option<u64> {
    let mut sum = 0;
    let mut next = 0;
    while next <= u64::from(bound) {
        if stop() {
            return None;
        }
        let end = (next + CHUNK).min(u64::from(bound) + 1);
        sum += (next..end).sum::<u64>();
        next = end;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::given;

    const RETRY: RetryPolicy = RetryPolicy { max_attempts: 2, backoff: Duration::from_secs(1) };
    const LEASE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn demanded() -> Event {
        Event::WorkDemanded { work_code: "api-x".into(), add_up_to: 4 }
    }

    fn claimed(attempt: u32, lease_until: i64) -> Event {
        Event::WorkClaimed { worker: "w".into(), attempt, lease_until: at(lease_until) }
    }

    fn claim(now: i64) -> Command {
        Command::Claim { worker: "w".into(), now: at(now), lease: LEASE, retry: RETRY }
    }

    fn failed(attempt: u32, retry_at: i64) -> Event {
        Event::WorkFailed { attempt, reason: "slow".into(), retry_at: at(retry_at) }
    }

    #[test]
    fn a_work_is_demanded_once() {
        let demand = || Command::Demand { work_code: "api-x".into(), add_up_to: 4 };
        given::<Work>([]).when(demand()).then([demanded()]);
        given::<Work>([demanded()]).when(demand()).then_nothing();
        given::<Work>([demanded(), claimed(1, 30)])
            .when(demand())
            .then_rejected(Rejection::AlreadyDemanded);
    }

    #[test]
    fn a_lease_keeps_other_workers_out_until_it_ends() {
        given::<Work>([demanded()]).when(claim(0)).then([claimed(1, 30)]);
        given::<Work>([demanded(), claimed(1, 30)])
            .when(claim(29))
            .then_rejected(Rejection::Leased);
        given::<Work>([demanded(), claimed(1, 30)]).when(claim(30)).then([claimed(2, 60)]);
    }

    #[test]
    fn a_late_answer_of_a_superseded_attempt_is_refused() {
        given::<Work>([demanded(), claimed(1, 30), claimed(2, 60)])
            .when(Command::Complete { attempt: 1, result: 10 })
            .then_rejected(Rejection::Superseded);
    }

    #[test]
    fn a_work_is_completed_once() {
        let done = Event::WorkCompleted { attempt: 1, result: 10 };
        let complete = || Command::Complete { attempt: 1, result: 10 };
        let started = Event::WorkStarted { attempt: 1 };
        given::<Work>([demanded(), claimed(1, 30)])
            .when(Command::Start { attempt: 1 })
            .then([started.clone()]);
        given::<Work>([demanded(), claimed(1, 30), started]).when(complete()).then([done.clone()]);
        given::<Work>([demanded(), claimed(1, 30), done.clone()]).when(complete()).then_nothing();
        given::<Work>([demanded(), claimed(1, 30), done])
            .when(claim(99))
            .then_rejected(Rejection::Finished);
    }

    #[test]
    fn a_failure_is_retried_with_backoff_and_given_up_after_the_limit() {
        let fail = |attempt, now| Command::Fail {
            attempt,
            reason: "slow".into(),
            now: at(now),
            retry: RETRY,
        };
        given::<Work>([demanded(), claimed(1, 30)]).when(fail(1, 5)).then([failed(1, 6)]);
        given::<Work>([demanded(), claimed(1, 30), failed(1, 6)])
            .when(claim(5))
            .then_rejected(Rejection::NotDue);
        given::<Work>([demanded(), claimed(1, 30), failed(1, 6), claimed(2, 60)])
            .when(fail(2, 50))
            .then([failed(2, 52), Event::WorkGivenUp { attempts: 2, reason: "slow".into() }]);
        given::<Work>([demanded(), claimed(1, 30), claimed(2, 60)]).when(claim(60)).then([
            Event::WorkGivenUp {
                attempts: 2,
                reason: "the lease of the last attempt ended without an answer".into(),
            },
        ]);
    }

    #[test]
    fn the_numbers_are_added() {
        assert_eq!(add_up_to(0, || false), Some(0));
        assert_eq!(add_up_to(4, || false), Some(10));
        assert_eq!(add_up_to(u32::MAX, || false), Some(9_223_372_034_707_292_160));
        assert_eq!(add_up_to(4, || true), None);
    }
}
