//! Group commit: one task that commits all waiting requests in one transaction. It has no timer:
//! while one batch commits, the next gathers.

use std::time::Duration;

use eventsourcing::Position;
use sqlx::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::append::append_cache::AppendCache;
use crate::append::batch;
use crate::append::head_lock::find_holder;
use crate::append::health::AppendHealth;
use crate::append::outcome::{AppendError, Outcome};
use crate::append::prepared::Prepared;
use crate::clock::LogClock;
use crate::error::{ErrorChain, Unavailable, sqlstate};
use crate::fault;
use crate::latency::Latency;
use crate::pool::{ConnectOptions, Pool, timed_out};
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
/// Interval between two tests whether a batch could be committed, after a failure and while no
/// request waits.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between a failure and the next connection: thousands of callers may retry at once.
const RECONNECT_DELAY: Duration = Duration::from_millis(50);

/// Settings of the appender's session. `statement_timeout` would also end the wait of a commit for
/// its synchronous standby; a batch has [`BATCH_TIMEOUT`].
const SESSION: [(&str, &str); 2] =
    [("application_name", "tributary appender"), ("statement_timeout", "0")];

/// A queued request.
pub(crate) struct Pending {
    pub(crate) request: Prepared,
    pub(crate) reply: oneshot::Sender<Outcome>,
    /// When the request was handed over.
    pub(crate) queued_at: Instant,
    /// Held until the reply is sent: bounds the bytes in the queue.
    pub(crate) bytes: OwnedSemaphorePermit,
}

pub(crate) struct GroupCommit {
    options: ConnectOptions,
    tasks: Tasks,
    /// A connection outside the pool, so that readers cannot delay it. Dropped after any failure,
    /// which rolls back an open transaction.
    connection: Option<PgConnection>,
    /// Batches in a row that failed because of the database, and their requests.
    failures: u64,
    failed_requests: usize,
    /// Earliest time of the next connection.
    retry_at: Instant,
    cache: AppendCache,
    clock: LogClock,
    health: AppendHealth,
    latency: Latency,
    committed: watch::Sender<Position>,
}

impl GroupCommit {
    pub(crate) fn new(
        pool: &Pool,
        tasks: Tasks,
        clock: LogClock,
        health: AppendHealth,
        latency: Latency,
        committed: watch::Sender<Position>,
    ) -> Self {
        Self {
            options: pool.options().clone(),
            tasks,
            connection: None,
            failures: 0,
            failed_requests: 0,
            retry_at: Instant::now(),
            cache: AppendCache::default(),
            clock,
            health,
            latency,
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
                    () = sleep(PROBE_EVERY), if self.failures > 0 => {
                        self.probe().await;
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
        let queued_at: Vec<_> = batch.iter().map(|pending| pending.queued_at).collect();
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
            Err(Failure::Database(error)) => {
                requests.iter().map(|_| Err(AppendError::Unavailable(error.clone()))).collect()
            }
            Ok(outcomes) => {
                self.latency.record(queued_at.iter().map(Instant::elapsed));
                outcomes
            }
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
                Err(Failure::Database(error)) => Err(error.into()),
            });
        }
        outcomes
    }

    /// Commits the batch. Tries once more with look-ups if a unique index detected a duplicate, and
    /// if the head was locked by a session that was then ended.
    async fn try_commit(&mut self, requests: &[Prepared]) -> Result<Vec<Outcome>, Failure> {
        let mut done = self.try_commit_once(requests).await;
        if matches!(done, Err(Failure::Duplicate(_))) && self.cache.require_lookups() {
            done = self.try_commit_once(requests).await;
        }
        if let Err(Failure::Database(error)) = done {
            done = match self.free_head(error).await {
                None => self.try_commit_once(requests).await,
                Some(error) => Err(Failure::Database(error)),
            };
        }
        if let Err(Failure::Database(error)) = &done {
            self.record_failure(error, requests.len());
        }
        done
    }

    async fn try_commit_once(&mut self, requests: &[Prepared]) -> Result<Vec<Outcome>, Failure> {
        let work = async {
            let mut connection = self.confirmed().await?;
            fault::point("appender", "");
            let clock = &self.clock;
            let done = batch::write(&mut connection, &mut self.cache, clock, requests).await?;
            Ok::<_, sqlx::Error>((connection, done))
        };
        let done = timeout(BATCH_TIMEOUT, work).await.unwrap_or_else(|_elapsed| Err(timed_out()));
        match done {
            Ok((connection, (outcomes, head))) => {
                self.connection = Some(connection);
                self.record_success(true);
                self.committed.send_if_modified(|at| std::mem::replace(at, head) != head);
                Ok(outcomes)
            }
            Err(error) => {
                self.cache.clear();
                Err(Failure::of(error))
            }
        }
    }

    /// Returns the connection, or a new one on which a commit has succeeded.
    async fn confirmed(&mut self) -> Result<PgConnection, sqlx::Error> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let mut connection = self.connect().await?;
        batch::confirm(&mut connection).await?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        sleep_until(self.retry_at).await;
        self.options.connect(&SESSION).await
    }

    /// If a batch failed because the head is locked, finds out by which session. None if that
    /// session was ended, so that the batch can be tried again; otherwise the error, with the
    /// session if it is known.
    async fn free_head(&mut self, error: Unavailable) -> Option<Unavailable> {
        const LOCK_NOT_AVAILABLE: &str = "55P03";
        if sqlstate(error.cause()).as_deref() != Some(LOCK_NOT_AVAILABLE) {
            return Some(error);
        }
        let idle = self.options.limits().idle_in_transaction;
        let finding = async {
            let mut connection = self.connect().await?;
            find_holder(&mut connection, idle).await
        };
        match timeout(BATCH_TIMEOUT, finding).await {
            Ok(Ok(Some(holder))) if holder.ended => {
                tracing::warn!(%holder, "ended a session that stopped inside a batch");
                None
            }
            Ok(Ok(Some(holder))) => Some(error.noting(&holder.to_string())),
            Ok(Ok(None) | Err(_)) | Err(_) => Some(error),
        }
    }

    /// Tests whether appends succeed again, so that readiness need not wait for a request.
    async fn probe(&mut self) {
        let work = async {
            let mut connection = self.confirmed().await?;
            batch::probe(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let done = timeout(BATCH_TIMEOUT, work).await.unwrap_or_else(|_elapsed| Err(timed_out()));
        match done {
            Ok(connection) => {
                self.connection = Some(connection);
                self.record_success(false);
            }
            Err(error) => {
                if let Some(error) = self.free_head(error.into()).await {
                    self.record_failure(&error, 0);
                }
            }
        }
    }

    fn record_success(&mut self, committed: bool) {
        let failures = std::mem::take(&mut self.failures);
        if failures > 0 {
            let requests = std::mem::take(&mut self.failed_requests);
            tracing::info!(failures, requests, "appender recovered");
        }
        self.health.succeeded(committed.then(|| self.clock.now()).flatten());
    }

    /// Logs the first failure of an outage as a warning; there can be many a second.
    fn record_failure(&mut self, error: &Unavailable, requests: usize) {
        self.retry_at = Instant::now() + RECONNECT_DELAY;
        self.failures += 1;
        self.failed_requests += requests;
        self.health.failed(error.clone());
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
    Database(Unavailable),
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
            error => Self::Database(error.into()),
        }
    }
}

/// Returns whether a SQLSTATE concerns a value and not the server: data exception, constraint
/// violation, or program limit exceeded.
fn is_about_data(code: Option<&str>) -> bool {
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
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
