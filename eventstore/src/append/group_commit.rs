//! Group commit: one task that commits all waiting requests in one transaction. It has no timer:
//! while one batch commits, the next gathers.

use std::io;
use std::time::Duration;

use eventsourcing::Position;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::append::append_cache::AppendCache;
use crate::append::batch;
use crate::append::outcome::{AppendError, Outcome};
use crate::append::prepared::Prepared;
use crate::error::{ErrorChain, Unavailable};
use crate::fault;
use crate::tasks::Tasks;

/// Most events in one request.
pub const BATCH_EVENTS: usize = 4096;
/// A batch takes no further request once it holds this many events, or half of those that wait if
/// that is more: while it commits, the callers of the batch before send their next requests, on
/// the other processor.
const FULL: usize = 512;
/// A batch takes no further request once it holds this many bytes.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// A batch that has not committed after this time is given up; its callers get
/// [`AppendError::Unavailable`].
const BATCH_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest time between a failure and the next connection: thousands of callers may retry at once.
const RECONNECT_DELAY: Duration = Duration::from_millis(50);

/// A queued request.
pub(crate) struct Pending {
    pub(crate) request: Prepared,
    pub(crate) reply: oneshot::Sender<Outcome>,
    /// Held until the reply is sent: bounds the bytes in the queue.
    pub(crate) bytes: OwnedSemaphorePermit,
}

pub(crate) struct GroupCommit {
    options: PgConnectOptions,
    tasks: Tasks,
    /// A connection outside the pool, so that readers cannot delay it. Dropped after any failure,
    /// which rolls back an open transaction.
    connection: Option<PgConnection>,
    /// Batches in a row that failed because of the database.
    failures: u64,
    /// Earliest time of the next connection.
    retry_at: Instant,
    cache: AppendCache,
    committed: watch::Sender<Position>,
}

impl GroupCommit {
    pub(crate) fn new(pool: &PgPool, tasks: Tasks, committed: watch::Sender<Position>) -> Self {
        Self {
            options: PgConnectOptions::clone(&pool.connect_options()),
            tasks,
            connection: None,
            failures: 0,
            retry_at: Instant::now(),
            cache: AppendCache::default(),
            committed,
        }
    }

    pub(crate) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Pending>,
        shutdown: CancellationToken,
    ) {
        let mut batch = Vec::new();
        let mut held_over = None;
        loop {
            let first = if held_over.is_some() {
                held_over.take()
            } else {
                tokio::select! {
                    biased;
                    pending = requests.recv() => pending,
                    () = shutdown.cancelled(), if !requests.is_closed() => {
                        requests.close(); // Requests in the queue are still received.
                        continue;
                    }
                }
            };
            let Some(first) = first else { return };
            held_over = gather(&mut batch, first, &mut requests);
            let more_waits = held_over.is_some();
            self.commit(std::mem::take(&mut batch), more_waits).await;
        }
    }

    async fn commit(&mut self, batch: Vec<Pending>, more_waits: bool) {
        let (requests, callers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|pending| (pending.request, (pending.reply, pending.bytes)))
            .unzip();
        let outcomes = match self.try_commit(&requests).await {
            Err(Failure::Data(_) | Failure::Duplicate(_)) if requests.len() > 1 => {
                self.commit_separately(&requests).await
            }
            Err(Failure::Data(reason) | Failure::Duplicate(reason)) => {
                vec![Err(AppendError::BadData(reason))]
            }
            Err(Failure::Database(error)) => unavailable(error, requests.len()),
            Ok(outcomes) => outcomes,
        };
        let reply_to_all = move || {
            for ((reply, _bytes), outcome) in callers.into_iter().zip(outcomes) {
                // Fails if the caller no longer waits; the commit stands.
                drop(reply.send(outcome));
            }
        };
        if more_waits {
            self.tasks.spawn("appender replies", async move { reply_to_all() });
        } else {
            reply_to_all();
            // Lets these callers queue their next requests before the next batch is gathered.
            tokio::task::yield_now().await;
        }
    }

    /// Commits each request in a transaction of its own, after Postgres refused a value in one of
    /// them: the other requests must not fail.
    async fn commit_separately(&mut self, requests: &[Prepared]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            outcomes.push(match self.try_commit(std::slice::from_ref(request)).await {
                Ok(mut outcome) => outcome.pop().unwrap_or(Err(AppendError::ShuttingDown)),
                Err(Failure::Data(reason) | Failure::Duplicate(reason)) => {
                    Err(AppendError::BadData(reason))
                }
                Err(Failure::Database(error)) => Err(Unavailable(error).into()),
            });
        }
        outcomes
    }

    /// Commits the batch. If a unique index detected a duplicate, tries once more with look-ups.
    async fn try_commit(&mut self, requests: &[Prepared]) -> Result<Vec<Outcome>, Failure> {
        let done = self.try_commit_once(requests).await;
        if matches!(done, Err(Failure::Duplicate(_))) && self.cache.require_lookups() {
            return self.try_commit_once(requests).await;
        }
        done
    }

    async fn try_commit_once(&mut self, requests: &[Prepared]) -> Result<Vec<Outcome>, Failure> {
        let work = async {
            let mut connection = if let Some(connection) = self.connection.take() {
                connection
            } else {
                sleep_until(self.retry_at).await;
                timeout(CONNECT_TIMEOUT, self.options.connect())
                    .await
                    .unwrap_or_else(|_elapsed| Err(timed_out()))?
            };
            fault::point("appender", "");
            let done = batch::write(&mut connection, &mut self.cache, requests).await?;
            Ok::<_, sqlx::Error>((connection, done))
        };
        let done = timeout(BATCH_TIMEOUT, work).await.unwrap_or_else(|_elapsed| Err(timed_out()));
        match done {
            Ok((connection, (outcomes, head))) => {
                self.connection = Some(connection);
                let failures = std::mem::take(&mut self.failures);
                if failures > 0 {
                    tracing::info!(failures, "appender recovered");
                }
                self.committed.send_if_modified(|at| std::mem::replace(at, head) != head);
                Ok(outcomes)
            }
            Err(error) => {
                self.cache.clear();
                let failure = Failure::of(error);
                if let Failure::Database(error) = &failure {
                    self.record_failure(error, requests.len());
                }
                Err(failure)
            }
        }
    }

    /// Logs the first failure of an outage as a warning; there can be many a second.
    fn record_failure(&mut self, error: &sqlx::Error, requests: usize) {
        self.retry_at = Instant::now() + RECONNECT_DELAY;
        self.failures += 1;
        let error = ErrorChain(error);
        if self.failures == 1 {
            tracing::warn!(%error, requests, "appender failed to commit a batch");
        } else {
            let failures = self.failures;
            tracing::debug!(%error, requests, failures, "appender failed to commit a batch");
        }
    }
}

enum Failure {
    /// A unique index detected a duplicate that was not looked up.
    Duplicate(String),
    /// Postgres cannot store a value in the batch.
    Data(String),
    /// The database failed; whether the batch was committed is unknown.
    Database(sqlx::Error),
}

impl Failure {
    fn of(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) if error.is_unique_violation() => {
                Self::Duplicate(error.message().to_owned())
            }
            sqlx::Error::Database(error) if is_about_data(error.code().as_deref()) => {
                Self::Data(error.message().to_owned())
            }
            error => Self::Database(error),
        }
    }
}

/// Returns whether a SQLSTATE concerns a value and not the server: data exception, constraint
/// violation, or program limit exceeded.
fn is_about_data(code: Option<&str>) -> bool {
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into())
}

/// Returns the error for each of `callers`. It cannot be cloned: the first gets it, the others get
/// one with the same text.
fn unavailable(error: sqlx::Error, callers: usize) -> Vec<Outcome> {
    let (kind, cause) = match &error {
        sqlx::Error::Io(error) => (error.kind(), error.to_string()),
        error => (io::ErrorKind::Other, error.to_string()),
    };
    let others = (1..callers).map(|_| sqlx::Error::Io(io::Error::new(kind, cause.clone())));
    std::iter::once(error).chain(others).map(|error| Err(Unavailable(error).into())).collect()
}

/// Adds waiting requests to `batch`, up to its limits. Returns the request that did not fit.
fn gather(
    batch: &mut Vec<Pending>,
    first: Pending,
    requests: &mut mpsc::Receiver<Pending>,
) -> Option<Pending> {
    let (mut events, mut bytes) = (0, 0);
    let full = (requests.len() / 2).clamp(FULL, BATCH_EVENTS);
    let mut next = Some(first);
    while let Some(pending) = next {
        events += pending.request.events.max(1);
        bytes += pending.request.bytes;
        if !batch.is_empty() && (events > full || bytes > BATCH_BYTES) {
            return Some(pending);
        }
        batch.push(pending);
        next = requests.try_recv().ok();
    }
    None
}
