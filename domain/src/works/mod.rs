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

use eventsourcing::Context;
use eventsourcing::StreamId;
use eventsourcing::decider::{AnyDecider, Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

const TYPES: &[(&str, i16)] = &[
    ("work_demanded", 1),
    ("work_claimed", 1),
    ("work_started", 1),
    ("work_completed", 1),
    ("work_failed", 1),
    ("work_given_up", 1),
];

pub const CONTEXT: Context = Context {
    name: "works",
    categories: &[Work::CATEGORY],
    events: &[TYPES],
    deciders: &[AnyDecider::of::<Work>()],
};

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

impl eventsourcing::Event for Event {
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
    pub const MAX_BACKOFF: Duration = Duration::from_mins(5);

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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
const CHUNK: u64 = 1 << 12;

/// Adds the numbers 0 to `bound`, one by one, asking `stop` every few thousand; `None` when told to.
pub fn add_up_to(bound: u32, stop: &mut dyn FnMut() -> bool) -> Option<u64> {
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
mod tests;
