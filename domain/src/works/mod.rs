//! Works: a work queue whose jobs add the numbers up to a bound. The job is small on purpose; the
//! context shows that each work is completed exactly once although workers crash.
//!
//! ```text
//! demanded ──► claimed ──► started ──► completed
//!    ▲            │  lease ends  │
//!    │            ▼              ▼
//!    └──────── failed ◄──────────┘ ──► given up
//! ```
//! A claim carries a lease. When the lease ends, another worker may claim the work. The attempt number
//! distinguishes a late result of the first worker from that of the second.

pub mod published;
mod sum;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use eventsourcing::Context;
use eventsourcing::decider::{AnyDecider, Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub use published::{WORK, WORK_DEMANDED, WORK_FAILED, stream};
pub use sum::add_up_to;

const TYPES: &[(&str, i16)] = &[
    (WORK_DEMANDED, 1),
    ("work_claimed", 1),
    ("work_started", 1),
    ("work_completed", 1),
    (WORK_FAILED, 1),
    ("work_given_up", 1),
];

/// The context of works.
pub const CONTEXT: Context = Context {
    name: "works",
    categories: &[WORK],
    events: &[TYPES],
    deciders: &[AnyDecider::of::<Work>()],
};

/// Events of a work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A client requested the sum of the numbers from 0 to `add_up_to`.
    WorkDemanded {
        /// Code for people: `api-…` if requested over HTTP, `consumer-…` if requested over NATS.
        work_code: String,
        /// Upper bound, included in the sum.
        add_up_to: u32,
    },
    /// A worker claimed the work exclusively until the lease ends.
    WorkClaimed {
        /// Name of the worker.
        worker: String,
        /// Number of the attempt, counted from 1.
        attempt: u32,
        /// Time at which the lease ends.
        lease_until: DateTime<Utc>,
    },
    /// The worker started the computation.
    WorkStarted {
        /// Number of the attempt.
        attempt: u32,
    },
    /// The work is done.
    WorkCompleted {
        /// Number of the attempt.
        attempt: u32,
        /// Sum of the numbers from 0 to `add_up_to`, both included.
        result: u64,
    },
    /// The attempt failed.
    WorkFailed {
        /// Number of the attempt.
        attempt: u32,
        /// Why it failed, for people.
        reason: String,
        /// Earliest time of the next attempt.
        retry_at: DateTime<Utc>,
    },
    /// The last attempt failed or its lease ended; the work is not retried.
    WorkGivenUp {
        /// Number of attempts made.
        attempts: u32,
        /// Why the last attempt failed, for people.
        reason: String,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// How often a failed work is retried, and with which backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Maximum number of attempts, the first one included.
    pub max_attempts: u32,
    /// Delay after the first failure; doubles with each further failure up to
    /// [`Self::MAX_BACKOFF`].
    pub backoff: Duration,
}

impl RetryPolicy {
    /// Maximum delay between two attempts.
    pub const MAX_BACKOFF: Duration = Duration::from_mins(5);

    fn retry_at(self, attempt: u32, now: DateTime<Utc>) -> DateTime<Utc> {
        let doubled = self.backoff.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        now + doubled.min(Self::MAX_BACKOFF)
    }
}

/// Commands of a work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Requests the sum of the numbers from 0 to `add_up_to`.
    Demand {
        /// Code for people.
        work_code: String,
        /// Upper bound, included in the sum.
        add_up_to: u32,
    },
    /// Claims the work for its next attempt, or gives it up if no attempt is left.
    Claim {
        /// Name of the worker.
        worker: String,
        /// Current time.
        now: DateTime<Utc>,
        /// Length of the lease.
        lease: Duration,
        /// Limits of the retries.
        retry: RetryPolicy,
    },
    /// Records that the claimed attempt started.
    Start {
        /// Number of the attempt.
        attempt: u32,
    },
    /// Completes the work.
    Complete {
        /// Number of the attempt.
        attempt: u32,
        /// The sum.
        result: u64,
    },
    /// Records that the attempt failed, and gives the work up after the last one.
    Fail {
        /// Number of the attempt.
        attempt: u32,
        /// Why it failed, for people.
        reason: String,
        /// Current time.
        now: DateTime<Utc>,
        /// Limits of the retries.
        retry: RetryPolicy,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A work with this id exists already, with other content or a later status.
    #[error("the work was demanded already, with another bound or code, or is in progress")]
    AlreadyDemanded,
    /// The work does not exist.
    #[error("the work does not exist")]
    NotDemanded,
    /// The lease of another attempt has not ended.
    #[error("another worker holds the lease of the work")]
    Leased,
    /// The backoff after a failure is not over.
    #[error("the next attempt is not due yet")]
    NotDue,
    /// The attempt is not the current one.
    #[error("the attempt was superseded by another one")]
    Superseded,
    /// The work is completed or given up.
    #[error("the work is finished")]
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

/// The state of a work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// The work does not exist yet.
    #[default]
    Undemanded,
    /// Waits for its first attempt.
    Demanded {
        /// Code for people.
        work_code: String,
        /// Upper bound.
        add_up_to: u32,
    },
    /// An attempt holds the lease.
    Claimed {
        /// Upper bound.
        add_up_to: u32,
        /// Number of the attempt.
        attempt: u32,
        /// Time at which the lease ends.
        lease_until: DateTime<Utc>,
        /// Whether the worker started the computation.
        started: bool,
    },
    /// Waits for its next attempt.
    Failed {
        /// Upper bound.
        add_up_to: u32,
        /// Number of the failed attempt.
        attempt: u32,
        /// Earliest time of the next attempt.
        retry_at: DateTime<Utc>,
    },
    /// Done.
    Completed {
        /// Number of the attempt.
        attempt: u32,
        /// The sum.
        result: u64,
    },
    /// No attempt is left.
    GivenUp,
}

impl Decider for Work {
    const CATEGORY: &'static str = WORK;
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
    /// Returns the upper bound of an open work; 0 if the work does not exist or is finished.
    pub fn add_up_to(&self) -> u32 {
        match self {
            Self::Demanded { add_up_to, .. }
            | Self::Claimed { add_up_to, .. }
            | Self::Failed { add_up_to, .. } => *add_up_to,
            Self::Undemanded | Self::Completed { .. } | Self::GivenUp => 0,
        }
    }
}

#[cfg(test)]
mod tests;
