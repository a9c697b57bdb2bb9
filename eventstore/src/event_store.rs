//! The event store of a process that appends: a reader of the log and the process's appender.

use std::ops::Deref;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::append::appender::Appender;
use crate::append::outcome::{AppendError, Appended};
use crate::append::receipt::{self, Receipt};
use crate::append::request::Append;
use crate::error::{ErrorChain, Unavailable};
use crate::latency::Latency;
use crate::monitor::{Checked, Clocks, Monitor, STALE};
use crate::pool::Pool;
use crate::pool_metrics;
use crate::read::log_reader::LogReader;
use crate::retry_log::RetryLog;
use crate::tasks::Tasks;

/// Longest wait for the first check of a monitor.
const FIRST_CHECK: Duration = Duration::from_secs(3);
/// Interval between deletions of expired receipts.
const DELETE_EVERY: Duration = Duration::from_hours(1);

/// A handle on the log for a process that appends. Clones share the process's one [`Appender`].
///
/// Dereferences to its [`LogReader`]: what only reads takes a `&LogReader` and accepts an
/// `&EventStore`.
#[derive(Debug, Clone)]
pub struct EventStore {
    reader: LogReader,
    appender: Appender,
    checked: watch::Sender<Checked>,
}

/// Whether a process can use Postgres, for its readiness.
#[derive(Debug, Clone)]
pub struct Health {
    /// Why Postgres is unavailable or appends fail; none if all is well.
    pub reason: Option<String>,
    /// When this process last committed a batch, by the clock of the log; none if it has not.
    pub committed_at: Option<DateTime<Utc>>,
    /// How the clocks differ; none before the first check.
    pub clocks: Option<Clocks>,
}

impl EventStore {
    /// Opens the log and starts an appender on `tasks`. Connects on first use.
    ///
    /// After `shutdown` is cancelled the appender accepts no further requests, commits those it
    /// has, and ends.
    pub fn open(pool: impl Into<Pool>, tasks: &Tasks, shutdown: CancellationToken) -> Self {
        let pool = pool.into();
        let appender = Appender::start(&pool, tasks, shutdown);
        let reader = LogReader::with_commits(pool, appender.committed());
        Self { reader, appender, checked: watch::Sender::default() }
    }

    /// Returns the reader of the log, for what must not append.
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Starts a task that checks Postgres every second, on a connection of its own, samples the pool,
    /// and logs outages and differences of clocks greater than `tolerance`, which is also the largest
    /// leap forward of the clock of Postgres that is followed at once.
    pub fn monitor(&self, tolerance: Duration, tasks: &Tasks, shutdown: CancellationToken) {
        let Appender { clock, health, .. } = &self.appender;
        clock.tolerate(tolerance);
        let monitor = Monitor {
            options: self.reader.pool.options().clone(),
            appends: health.clone(),
            clock: clock.clone(),
            tolerance,
            checked: self.checked.clone(),
        };
        let pool = self.reader.pool().clone();
        tasks.spawn("monitor of Postgres", async move {
            let running = async { tokio::join!(monitor.run(), pool_metrics::sample(pool)) };
            shutdown.run_until_cancelled(running).await;
        });
    }

    /// Returns what the monitor and the appender last found. Waits for the monitor's first check, for
    /// 3 s at most.
    pub async fn health(&self) -> Health {
        let mut first = self.checked.subscribe();
        drop(timeout(FIRST_CHECK, first.wait_for(|checked| checked.at.is_some())).await);
        let checked = self.checked.borrow().clone();
        let unchecked = match checked.at {
            None => Some("Postgres was not checked yet".to_owned()),
            Some(at) if at.elapsed() > STALE => {
                Some(format!("Postgres was not checked for {} s", at.elapsed().as_secs()))
            }
            Some(_) => None,
        };
        let reason = checked.refused.or(unchecked).or(checked.reason);
        Health {
            reason: reason.or_else(|| self.appender.health.failure()),
            committed_at: self.appender.health.last().committed_at,
            clocks: checked.clocks,
        }
    }

    /// Returns whether Postgres answered the monitor's last check.
    pub fn postgres_answers(&self) -> bool {
        self.checked.borrow().reason.is_none()
    }

    /// Returns the time from the hand-over of each request to its commit, of this process.
    pub fn commit_latency(&self) -> &Latency {
        &self.appender.latency
    }

    /// Waits until the monitor finds that this process cannot work with this database, and returns
    /// why.
    pub async fn refused(&self) -> String {
        let mut checked = self.checked.subscribe();
        loop {
            if let Some(reason) = checked.borrow_and_update().refused.clone() {
                return reason;
            }
            if checked.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Returns the time by the clock of the log, which leases, due times and deadlines are judged
    /// by. Queries Postgres only if no monitor has checked it yet.
    pub async fn now(&self) -> Result<DateTime<Utc>, Unavailable> {
        match self.appender.clock.now() {
            Some(now) => Ok(now),
            None => self.time_of_postgres().await,
        }
    }

    /// Appends `request` and returns when it is committed, in one transaction with the requests
    /// that waited with it. Once the request is queued, dropping this future does not withdraw it.
    pub async fn append(&self, request: Append) -> Result<Appended, AppendError> {
        self.appender.append(request).await
    }

    /// Returns the receipt of the request that was accepted with the idempotency key `key`.
    pub async fn receipt(&self, key: &str) -> Result<Option<Receipt>, Unavailable> {
        Ok(receipt::find(self.pool(), key).await?)
    }

    /// Starts a task that deletes receipts older than [`RECEIPT_DAYS`](crate::RECEIPT_DAYS), now
    /// and every hour. Any number of processes may run one.
    pub fn delete_expired_receipts(&self, tasks: &Tasks, shutdown: CancellationToken) {
        let pool = self.pool().clone();
        tasks.spawn("receipt deletion", async move {
            let deleting = async {
                let mut ticks = interval(DELETE_EVERY);
                let mut log = RetryLog::new("deletion of expired receipts");
                loop {
                    ticks.tick().await;
                    let deleted = receipt::delete_expired(&pool).await;
                    log.note(deleted.map_err(|error| ErrorChain(&error).to_string()));
                }
            };
            shutdown.run_until_cancelled(deleting).await;
        });
    }
}

impl Deref for EventStore {
    type Target = LogReader;

    fn deref(&self) -> &LogReader {
        &self.reader
    }
}
