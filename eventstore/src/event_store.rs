//! The event store of a process that appends: a reader of the log and the process's appender.

use std::ops::Deref;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::append::appender::Appender;
use crate::append::outcome::{AppendError, Appended};
use crate::append::receipt::{self, Receipt};
use crate::append::request::Append;
use crate::error::{ErrorChain, Unavailable};
use crate::read::log_reader::LogReader;
use crate::retry_log::RetryLog;
use crate::tasks::Tasks;

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
}

impl EventStore {
    /// Opens the log and starts an appender on `tasks`. Connects on first use.
    ///
    /// After `shutdown` is cancelled the appender accepts no further requests, commits those it
    /// has, and ends.
    pub fn open(pool: PgPool, tasks: &Tasks, shutdown: CancellationToken) -> Self {
        let appender = Appender::start(&pool, tasks, shutdown);
        Self { reader: LogReader::with_commits(pool, appender.committed()), appender }
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
