//! The appender: one task that commits everything that waits, together. There is no timer: while
//! one batch commits, the next gathers.

use std::sync::Arc;
use std::time::Duration;

use eventsourcing::{Position, StreamId};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Unavailable;
use crate::append::append_cache::AppendCache;
use crate::append::batch;
use crate::append::prepared::Prepared;
use crate::append::receipt::NewReceipt;
use crate::append::{Append, AppendError, Appended, Outcome};

/// Most events in one request.
pub const BATCH_EVENTS: usize = 4096;
/// A batch takes no further request once it holds this many events, or half of those that wait if
/// that is more: while it commits, the callers of the batch before it hear their answers and ask
/// again, on the other processor.
const FULL: usize = 512;
/// A batch takes no further request once it holds this many bytes.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Largest single request in bytes of event data and response.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// Requests that may wait; further callers wait to be let in.
const QUEUE_REQUESTS: usize = 16_384;
/// Bytes that may wait.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// A batch that has not committed after so long is given up, and its callers are told that the
/// outcome is not known.
const BATCH_TIMEOUT: Duration = Duration::from_secs(15);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failure, connecting waits so long: thousands may be asking again and again.
const RECONNECT: Duration = Duration::from_millis(50);

/// A caller's request, on its way.
struct Pending {
    request: Prepared,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
    /// Held until the answer is given: bounds what waits.
    bytes: OwnedSemaphorePermit,
}

/// The way to the appender.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    queue: mpsc::Sender<Pending>,
    bytes: Arc<Semaphore>,
}

impl Handle {
    pub(crate) async fn append(&self, request: Append) -> Result<Appended, AppendError> {
        check(&request)?;
        let request = Prepared::new(request)?;
        let weight = u32::try_from(request.bytes.max(1)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bytes).acquire_many_owned(weight).await;
        let Ok(permit) = permit else {
            return Err(AppendError::ShuttingDown);
        };
        let (reply, answer) = oneshot::channel();
        let pending = Pending { request, reply, bytes: permit };
        if self.queue.send(pending).await.is_err() {
            return Err(AppendError::ShuttingDown);
        }
        answer.await.unwrap_or(Err(AppendError::ShuttingDown))
    }
}

/// What can be said of a request without looking at the log.
fn check(request: &Append) -> Result<(), AppendError> {
    let bad = |reason: &str| Err(AppendError::BadData(reason.to_owned()));
    if request.bytes() > MAX_REQUEST_BYTES || request.events() > BATCH_EVENTS {
        return bad("the request is larger than the log accepts");
    }
    if let Some(NewReceipt { key, .. }) = &request.receipt
        && (key.is_empty() || key.len() > NewReceipt::MAX_KEY_BYTES || key.contains('\0'))
    {
        return bad("the idempotency key is empty, too long or not text");
    }
    for (index, part) in request.streams.iter().enumerate() {
        if StreamId::parse(part.stream.as_str()).is_err() {
            return bad("the stream id is not valid");
        }
        if request.streams[..index].iter().any(|other| other.stream == part.stream) {
            return bad("a request names each stream once");
        }
        if part.events.iter().any(|event| holds_nul(&event.encoded.data)) {
            return bad("text in the event holds \\u0000, which the log cannot store");
        }
    }
    Ok(())
}

/// Whether JSON text holds an escaped NUL: `\u0000` after an even number of backslashes.
fn holds_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let before = json[..at].bytes().rev().take_while(|&byte| byte == b'\\').count();
        before % 2 == 0
    })
}

pub(crate) fn spawn(
    pool: &PgPool,
    tasks: &TaskTracker,
    shutdown: CancellationToken,
) -> (Handle, watch::Receiver<Position>) {
    let (queue, requests) = mpsc::channel(QUEUE_REQUESTS);
    let (committed, committed_at) = watch::channel(Position::START);
    let bytes = Arc::new(Semaphore::new(QUEUE_BYTES));
    let options = PgConnectOptions::clone(&pool.connect_options());
    let appender = Appender {
        options,
        tasks: tasks.clone(),
        connection: None,
        failures: 0,
        retry_at: Instant::now(),
        cache: AppendCache::default(),
        committed,
    };
    tasks.spawn(appender.run(requests, shutdown));
    (Handle { queue, bytes }, committed_at)
}

struct Appender {
    options: PgConnectOptions,
    tasks: TaskTracker,
    /// Its own, outside the pool: readers cannot keep it waiting. Thrown away after any failure,
    /// and with it whatever transaction was open.
    connection: Option<PgConnection>,
    /// Batches in a row that the database was not there for.
    failures: u64,
    /// No connection is made before.
    retry_at: Instant,
    cache: AppendCache,
    committed: watch::Sender<Position>,
}

impl Appender {
    async fn run(mut self, mut requests: mpsc::Receiver<Pending>, shutdown: CancellationToken) {
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
                        requests.close(); // What is in the queue is still taken.
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
                self.commit_apart(&requests).await
            }
            Err(Failure::Data(reason) | Failure::Duplicate(reason)) => {
                vec![Err(AppendError::BadData(reason))]
            }
            Err(Failure::Database(error)) => unavailable(error, requests.len()),
            Ok(outcomes) => outcomes,
        };
        let answer = move || {
            for ((reply, _bytes), outcome) in callers.into_iter().zip(outcomes) {
                // A caller that went away does not hear it; what is committed stays.
                drop(reply.send(outcome));
            }
        };
        if more_waits {
            self.tasks.spawn(async move { answer() });
        } else {
            answer();
            // The callers just answered ask again at once; let them, before looking.
            tokio::task::yield_now().await;
        }
    }

    /// One of them holds what Postgres refuses, though it looked well: the others must not suffer.
    async fn commit_apart(&mut self, requests: &[Prepared]) -> Vec<Outcome> {
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

    /// Commits the batch; if an index noticed a duplicate, once more, looking everything up.
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
            let done = batch::write(&mut connection, &mut self.cache, requests).await?;
            Ok::<_, sqlx::Error>((connection, done))
        };
        let done = timeout(BATCH_TIMEOUT, work).await.unwrap_or_else(|_elapsed| Err(timed_out()));
        match done {
            Ok((connection, (outcomes, head))) => {
                self.connection = Some(connection);
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!("batches are committed again");
                }
                self.committed.send_if_modified(|at| std::mem::replace(at, head) != head);
                Ok(outcomes)
            }
            Err(error) => {
                self.cache.clear();
                let failure = Failure::of(error);
                if let Failure::Database(error) = &failure {
                    self.note_failure(error, requests.len());
                }
                Err(failure)
            }
        }
    }

    /// Only the first of an outage is worth a warning: there can be many in a second.
    fn note_failure(&mut self, error: &sqlx::Error, requests: usize) {
        self.retry_at = Instant::now() + RECONNECT;
        self.failures += 1;
        if self.failures == 1 {
            tracing::warn!(%error, requests, "batches are not committed");
        } else {
            tracing::debug!(%error, requests, failures = self.failures, "a batch was not committed");
        }
    }
}

enum Failure {
    /// A unique index has noticed what nobody looked up.
    Duplicate(String),
    /// Something in the batch cannot be stored.
    Data(String),
    /// The database was not there; whether the batch was committed is not known.
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

/// Classes of SQLSTATE that speak of values, not of the server: data exception, constraint
/// violation, and a program limit exceeded by one value.
fn is_about_data(code: Option<&str>) -> bool {
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Every caller is told the same; only the first gets the error itself.
fn unavailable(error: sqlx::Error, callers: usize) -> Vec<Outcome> {
    let kind = match &error {
        sqlx::Error::Io(error) => error.kind(),
        _ => std::io::ErrorKind::Other,
    };
    let others = (1..callers).map(|_| sqlx::Error::Io(kind.into()));
    std::iter::once(error).chain(others).map(|error| Err(Unavailable(error).into())).collect()
}

/// Takes what waits, up to the limits of a batch. Returns the request that did not fit.
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

#[cfg(test)]
mod tests {
    use super::holds_nul;

    #[test]
    fn an_escaped_nul_is_told_from_an_escaped_backslash() {
        assert!(holds_nul(r#"{"a":"x\u0000y"}"#));
        assert!(holds_nul(r#"{"a":"\\\u0000"}"#));
        assert!(!holds_nul(r#"{"a":"\\u0000"}"#));
        assert!(!holds_nul(r#"{"a":"\u0001"}"#));
    }
}
