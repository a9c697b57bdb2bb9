//! The appender: validates and queues the append requests of a process.

use std::sync::Arc;

use eventsourcing::json::holds_nul;
use eventsourcing::{Position, StreamId};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::append::group_commit::{BATCH_EVENTS, GroupCommit, Pending};
use crate::append::health::AppendHealth;
use crate::append::outcome::{AppendError, Appended, Outcome};
use crate::append::prepared::Prepared;
use crate::append::receipt::NewReceipt;
use crate::append::request::{Append, ExpectedVersion, StreamAppend};
use crate::clock::LogClock;
use crate::latency::Latency;
use crate::pool::Pool;
use crate::tasks::Tasks;

/// Largest request in bytes of event data and response.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// Most requests in the queue; further callers wait.
const QUEUE_REQUESTS: usize = 16_384;
/// Most bytes in the queue; further callers wait.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// A handle on a process's appender. Clones share its queue and its connection.
///
/// Any number of processes may append to one log. Within a process, one appender is faster than
/// several: it commits all waiting requests in one transaction.
#[derive(Debug, Clone)]
pub struct Appender {
    queue: mpsc::Sender<Pending>,
    bytes: Arc<Semaphore>,
    committed: watch::Receiver<Position>,
    pub(crate) clock: LogClock,
    pub(crate) health: AppendHealth,
    /// From the queue to the commit, of each request.
    pub(crate) latency: Latency,
}

impl Appender {
    /// Starts an appender on `tasks`, with a connection of its own and the options of `pool`.
    ///
    /// After `shutdown` is cancelled it accepts no further requests, commits those it has, and
    /// ends.
    pub fn start(pool: &Pool, tasks: &Tasks, shutdown: CancellationToken) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS);
        let (sender, committed) = watch::channel(Position::START);
        let bytes = Arc::new(Semaphore::new(QUEUE_BYTES));
        let (clock, health) = (LogClock::default(), AppendHealth::default());
        let latency = Latency::default();
        let group_commit = GroupCommit::new(
            pool,
            tasks.clone(),
            clock.clone(),
            health.clone(),
            latency.clone(),
            sender,
        );
        tasks.spawn("appender", group_commit.run(requests, shutdown));
        Self { queue, bytes, committed, clock, health, latency }
    }

    /// Appends `request` and returns when it is committed. Once the request is queued, dropping
    /// this future does not withdraw it.
    pub async fn append(&self, request: Append) -> Result<Appended, AppendError> {
        validate(&request)?;
        let request = Prepared::new(request)?;
        let (reply, outcome) = oneshot::channel();
        // While the queue has room, a request is queued when its future is first polled: the requests of
        // one task are queued in the order in which the task polls them. Tokio's cooperative budget would
        // stop the task after 64 of them, and poll the others in another order.
        if unconstrained(self.queue(request, reply)).await.is_none() {
            return Err(AppendError::ShuttingDown);
        }
        outcome.await.unwrap_or(Err(AppendError::ShuttingDown))
    }

    /// Queues a request; returns `None` if the appender has ended.
    async fn queue(&self, request: Prepared, reply: oneshot::Sender<Outcome>) -> Option<()> {
        let queued_at = Instant::now();
        let weight = u32::try_from(request.bytes.max(1)).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(weight).await.ok()?;
        self.queue.send(Pending { request, reply, queued_at, bytes }).await.ok()
    }

    /// Watches the last position that this appender committed; 0 before the first.
    pub fn committed(&self) -> watch::Receiver<Position> {
        self.committed.clone()
    }
}

/// Checks what does not depend on the log.
fn validate(request: &Append) -> Result<(), AppendError> {
    let bad = |reason: String| Err(AppendError::BadData(reason));
    if request.bytes() > MAX_REQUEST_BYTES || request.events() > BATCH_EVENTS {
        return bad(format!(
            "the request is too large: at most {BATCH_EVENTS} events and {MAX_REQUEST_BYTES} bytes"
        ));
    }
    if let Some(NewReceipt { key, .. }) = &request.receipt
        && (key.is_empty() || key.len() > NewReceipt::MAX_KEY_BYTES || key.contains('\0'))
    {
        return bad(format!(
            "the idempotency key is invalid: it has 1 to {} bytes and no NUL",
            NewReceipt::MAX_KEY_BYTES
        ));
    }
    for part in &request.streams {
        if let Err(error) = StreamId::parse(part.stream.as_str()) {
            return bad(format!("the stream id is invalid: {error}"));
        }
        let names_again = |other: &StreamAppend| other.stream == part.stream;
        if part.expected != ExpectedVersion::Any
            && request.streams.iter().filter(|part| names_again(part)).count() > 1
        {
            let stream = &part.stream;
            return bad(format!(
                "the request names stream {stream} more than once, with a condition"
            ));
        }
        if part.events.iter().any(|event| holds_nul(&event.encoded.data)) {
            return bad("a text in the event contains \\u0000, which Postgres cannot store".into());
        }
    }
    Ok(())
}
