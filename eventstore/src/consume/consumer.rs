//! What a consumer supplies to the runtime.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use eventsourcing::{Position, StreamId, Version};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};

use super::checkpoint::Start;
use super::failed::{Failed, position_of_single};
use super::parked::Parked;
use crate::{AppendError, EventStore, Filter, Page, RawEvent, Unavailable};

/// Events of a parked stream read at once.
const RETRY_EVENTS: usize = 500;

/// Follows the log and does something with its events. [`super::run`] runs it.
///
/// Which of two methods has the effects decides how often they happen:
///
/// - *Transactional*: [`Consumer::handle`] only computes, and [`Consumer::commit`] writes in the
///   transaction that moves the checkpoint. Effects happen exactly once. Projections are such.
/// - *At least once*: [`Consumer::handle`] appends or publishes, and waits for the acknowledgement;
///   no transaction is open meanwhile. After a crash a batch is handled again, so effects must be
///   idempotent. Process managers, evaluators and publishers are such.
pub trait Consumer: Send {
    /// Name of the checkpoint, of the parked streams, and of the lease.
    const NAME: &'static str;
    /// Most events of one batch.
    const BATCH_EVENTS: usize;
    /// Where the consumer starts without a checkpoint.
    const START: Start = Start::FirstEvent;
    /// How often the consumer shows that it lives, and looks for requested retries.
    const HEARTBEAT: Duration = Duration::from_secs(2);
    /// How long the process that runs the consumer keeps others from running it, from its last
    /// heartbeat on. None: any number of processes run it, and the checkpoint decides between them.
    const LEASE: Option<Duration> = None;
    /// Whether the checkpoint moves with each heartbeat only, instead of after each batch: for
    /// consumers whose [`Consumer::commit`] costs more than handling a batch again after a crash.
    const COMMITS_AT_HEARTBEAT: bool = false;
    /// Least time between the starts of two batches, unless one is full.
    const PACE: Duration = Duration::ZERO;

    /// Name of the checkpoint; another than [`Consumer::NAME`] for a consumer that is rebuilt.
    fn name(&self) -> &str {
        Self::NAME
    }

    /// The events the consumer follows.
    fn filter(&self) -> Filter;

    /// Whether this build knows the type and the schema version of an event. The runtime never hands
    /// over an event for which this is false: the consumer waits there for a newer build.
    fn knows(&self, event: &RawEvent) -> bool;

    /// What an event concerns: events of one key are handled in order, and wait behind one that
    /// cannot be handled. [`single_event`](super::single_event) for facts without an order.
    fn key<'e>(&self, event: &'e RawEvent) -> Cow<'e, StreamId> {
        Cow::Borrowed(&event.stream)
    }

    /// Connects to what the consumer publishes to. Called at each start, with the lease held and before
    /// the start is counted, so that a consumer that waits here shows no heartbeat.
    fn connect(&mut self) -> impl Future<Output = Result<(), ConsumeError>> + Send {
        async { Ok(()) }
    }

    /// Runs while the consumer waits for events, and is cancelled when some arrive: keeps a connection
    /// alive. Returns only with an error.
    fn idle(&mut self) -> impl Future<Output = Result<(), ConsumeError>> + Send {
        std::future::pending()
    }

    /// Prepares for handling the events after `position`. Called at each start, also after a panic:
    /// forgets whatever was in memory. Returns where transactions run.
    fn open(
        &mut self,
        store: &EventStore,
        position: Position,
    ) -> impl Future<Output = Result<Session, ConsumeError>> + Send;

    /// Handles `events`, in the order of the log, and returns those that cannot be handled: of each
    /// key at most one, behind which the later events of the key are left out. All other effects of
    /// the batch have happened, or happen in [`Consumer::commit`]. Streams in `parked` are not
    /// among the events. The keys of the returned events are parked at once: no further attempt
    /// succeeds.
    ///
    /// An error says that nothing is wrong with the events; the consumer starts again after a while.
    fn handle(
        &mut self,
        events: &[Arc<RawEvent>],
        parked: &Parked,
    ) -> impl Future<Output = Result<Vec<Failed>, ConsumeError>> + Send;

    /// Writes what was handled since the last commit, in the transaction that moves the checkpoint.
    /// If Postgres refuses values, the events are handled and committed in ever smaller parts.
    fn commit(
        &mut self,
        _connection: &mut PgConnection,
    ) -> impl Future<Output = Result<(), ConsumeError>> + Send {
        async { Ok(()) }
    }

    /// Called when the transaction of [`Consumer::commit`] is committed, with the new checkpoint.
    fn committed(&mut self, _position: Position) {}

    /// Reads the next events that wait behind the parked stream of `reader`, for a retry; possibly
    /// events that others wait behind, too. The default reads that stream.
    fn read_parked(
        &self,
        reader: &mut StreamReader,
    ) -> impl Future<Output = Result<Page, Unavailable>> + Send {
        reader.next()
    }

    /// Handles `events` after `after` of the parked `stream`, as [`Consumer::handle`] does. The
    /// checkpoint is further.
    fn retry(
        &mut self,
        _stream: &StreamId,
        _after: Position,
        events: &[Arc<RawEvent>],
        parked: &Parked,
    ) -> impl Future<Output = Result<Vec<Failed>, ConsumeError>> + Send {
        self.handle(events, parked)
    }
}

/// Where the transactions of a consumer run.
#[derive(Debug)]
pub enum Session {
    /// On any connection of the store's pool.
    Pool(PgPool),
    /// On a connection with settings of its own. Closed when the consumer starts again.
    Own(PgConnection),
}

impl Session {
    /// Begins a transaction.
    pub(super) async fn begin(&mut self) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
        match self {
            Self::Pool(pool) => pool.begin().await,
            Self::Own(connection) => connection.begin().await,
        }
    }
}

/// Why a consumer stopped and starts again.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The log cannot be read or appended to.
    #[error(transparent)]
    Log(#[from] Unavailable),
    /// Postgres failed, or refused a value.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// An event could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Another process moved the checkpoint, parked or freed a stream, or holds the lease.
    #[error("another process runs this consumer and was faster")]
    Fenced,
    /// The consumer panicked, with this message.
    #[error("the consumer panicked: {0}")]
    Panicked(String),
    /// A newer build wrote the next event. The consumer waits in front of it.
    #[error("a newer build wrote the next event: {}", .0.error)]
    NewerBuild(Failed),
    /// The consumer cannot go on for now.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl ConsumeError {
    /// The consumer cannot go on for now, because of `error`.
    pub fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }

    /// Why Postgres refused a value: a data exception, a constraint violation or a limit exceeded,
    /// which speak of events. None for every other failure, which speaks of the server.
    pub fn refusal(&self) -> Option<&str> {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return None;
        };
        let code = error.code()?;
        ["22", "23", "54"].iter().any(|class| code.starts_with(class)).then(|| error.message())
    }
}

/// Reads a parked stream, page by page, from the event that could not be handled to the checkpoint.
#[derive(Debug)]
pub struct StreamReader {
    /// The log.
    pub store: EventStore,
    /// The parked stream.
    pub stream: StreamId,
    /// Everything up to here has been handled.
    pub after: Position,
    /// The checkpoint: everything later comes with the batches.
    pub until: Position,
    /// Of the stream's last event up to `after`.
    version: Version,
}

impl StreamReader {
    /// A reader of `stream` from the first event after `after` up to `until`.
    pub(super) async fn open(
        store: &EventStore,
        stream: StreamId,
        after: Position,
        until: Position,
    ) -> Result<Self, Unavailable> {
        let last = store.last_of_streams(std::slice::from_ref(&stream), after).await?;
        let version = last.first().map_or(Version::NONE, |event| event.version);
        Ok(Self { store: store.clone(), stream, after, until, version })
    }

    /// The next events of the stream, at most 500; those of the last page reach to the checkpoint.
    pub async fn next(&mut self) -> Result<Page, Unavailable> {
        if let Some(position) = position_of_single(&self.stream) {
            let events = self.store.at_positions(&[position]).await?;
            return Ok(Page { events, through: self.until });
        }
        let mut events = self.store.read_stream(&self.stream, self.version, RETRY_EVENTS).await?;
        // A page may end early because of its size: only an empty one is the end of the stream.
        let mut done = events.is_empty();
        if let Some(beyond) = events.iter().position(|event| event.position > self.until) {
            events.truncate(beyond);
            done = true;
        }
        let through = match events.last() {
            Some(last) => {
                self.version = last.version;
                if done { self.until } else { last.position }
            }
            None => self.until,
        };
        Ok(Page { events, through })
    }
}
