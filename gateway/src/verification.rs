//! The verification of the log that was requested from this process: one at a time, in the background,
//! at half the speed that Postgres reads with.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use eventstore::{ErrorChain, EventStore, LogReader, LogVerification, Tasks, Unavailable, caught};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// Findings that are kept; further ones are only counted.
const KEPT: usize = 100;

/// The last verification of this process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Verification {
    /// What became of it; null if none was requested since this process started.
    state: Option<VerificationState>,
    /// Position up to which the hash chain is checked.
    position: i64,
    /// Position up to which it is to be checked: the head at its start.
    head: i64,
    /// When it was started.
    started_at: Option<DateTime<Utc>>,
    /// When it ended; null while it runs.
    finished_at: Option<DateTime<Utc>>,
    /// The first thing that is wrong, or why the log could not be read; null if nothing is wrong.
    fault: Option<String>,
    /// Number of findings: 0 if nothing is wrong.
    count: usize,
    /// The first of them, at most 100.
    findings: Vec<VerificationFinding>,
}

/// What became of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum VerificationState {
    /// Events are checked.
    Running,
    /// The log holds exactly what was appended.
    Passed,
    /// Something is wrong, or the log could not be read.
    Failed,
}

/// Something that is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct VerificationFinding {
    /// Position of the event concerned, if there is one.
    position: Option<i64>,
    /// What is wrong.
    what: String,
}

/// Runs verifications, one at a time.
#[derive(Debug)]
pub struct Verifications {
    tasks: Tasks,
    last: Arc<watch::Sender<Verification>>,
}

impl Verifications {
    /// Verifications that run on `tasks`.
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks, last: Arc::default() }
    }

    /// The last verification, with its progress if it runs.
    pub(crate) fn last(&self) -> Verification {
        self.last.borrow().clone()
    }

    /// Starts a verification of the log of `store`, until `shutdown`; false if one runs already.
    pub(crate) fn start(&self, store: &EventStore, shutdown: CancellationToken) -> bool {
        let running = Some(VerificationState::Running);
        let started = self.last.send_if_modified(|last| {
            let is_new = last.state != running;
            if is_new {
                let started_at = Some(Utc::now());
                *last = Verification { state: running, started_at, ..Verification::default() };
            }
            is_new
        });
        if started {
            // On a connection of its own, because a check of all references may take long.
            let options = store.connect_options().clone().without_time_limits();
            let reader = LogReader::new(eventstore::pool(options, 1));
            let last = Arc::clone(&self.last);
            self.tasks.spawn("verification", async move {
                let verifying = caught(verify(reader, &last));
                let outcome = shutdown.run_until_cancelled(verifying).await;
                last.send_modify(|last| last.finish(outcome));
            });
        }
        started
    }
}

/// Verifies the log, and keeps `last` up to date.
async fn verify(reader: LogReader, last: &watch::Sender<Verification>) -> Result<(), Unavailable> {
    let mut verification = LogVerification::begin(reader).await?;
    last.send_modify(|last| last.head = verification.head().0);
    loop {
        let begun = Instant::now();
        let Some(found) = verification.next().await? else { return Ok(()) };
        last.send_modify(|last| {
            last.position = verification.walk().at().0.0;
            last.count += found.len();
            let room = KEPT.saturating_sub(last.findings.len());
            let found = found.into_iter().take(room);
            last.findings.extend(found.map(|finding| VerificationFinding {
                position: finding.position,
                what: finding.what,
            }));
        });
        sleep(begun.elapsed()).await;
    }
}

impl Verification {
    /// Ends with `outcome`: of the verification, or of its panic; none if the process shuts down.
    fn finish(&mut self, outcome: Option<Result<Result<(), Unavailable>, String>>) {
        let trouble = match outcome {
            Some(Ok(Ok(()))) => None,
            Some(Ok(Err(error))) => Some(ErrorChain(&error).to_string()),
            Some(Err(panic)) => Some(format!("the verification panicked: {panic}")),
            None => Some("the process shuts down".to_owned()),
        };
        let first = self.findings.first().map(|first| match first.position {
            Some(position) => format!("position {position}: {}", first.what),
            None => first.what.clone(),
        });
        self.fault = first.or(trouble);
        let passed = self.fault.is_none();
        self.state =
            Some(if passed { VerificationState::Passed } else { VerificationState::Failed });
        self.finished_at = Some(Utc::now());
        let fault = self.fault.as_deref().unwrap_or_default();
        if passed {
            tracing::info!(position = self.position, "log verified");
        } else {
            tracing::error!(fault, findings = self.count, "verification of the log failed");
        }
    }
}
