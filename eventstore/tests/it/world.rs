//! A log per test, processes that use it, and helpers to append and to wait.

use std::time::Duration;

use devservers::{Nats, Postgres, testing};
use eventsourcing::event::Encoded;
use eventsourcing::{Position, StreamId, Version};
use eventstore::{
    Append, AppendError, Appended, Bus, EventStore, ExpectedVersion, Feed, Filter, NewEvent,
    RawEvent, Relay, StreamAppend, Subscription, Tasks,
};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longest wait for an expected event.
const DEADLINE: Duration = Duration::from_mins(1);

/// Waits for `future`; panics after `DEADLINE`.
pub(crate) async fn within_deadline<T>(what: &str, future: impl Future<Output = T>) -> T {
    let output = tokio::time::timeout(DEADLINE, future).await;
    output.unwrap_or_else(|_elapsed| panic!("{what}: not within {DEADLINE:?}"))
}

pub(crate) async fn start_nats() -> Nats {
    testing::start_nats().await.unwrap()
}

async fn execute(postgres: &Postgres, sql: &str) {
    let mut connection = PgConnection::connect(&postgres.admin_url()).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

/// A database that holds a log.
#[derive(Clone)]
pub(crate) struct Log {
    options: PgConnectOptions,
}

impl Log {
    /// Creates an empty log on the shared server, as a copy of a migrated database.
    pub(crate) async fn new() -> Self {
        static TEMPLATE: OnceCell<()> = OnceCell::const_new();
        let postgres = testing::shared_postgres().await.unwrap();
        TEMPLATE.get_or_init(|| async { drop(Self::create(postgres, "template").await) }).await;
        let name = format!("log_{}", Uuid::now_v7().simple());
        execute(postgres, &format!("create database {name} template template")).await;
        Self::on(postgres, &name)
    }

    /// Creates an empty log on a server of the test's own.
    pub(crate) async fn create(postgres: &Postgres, name: &str) -> Self {
        execute(postgres, &format!("create database {name}")).await;
        let log = Self::on(postgres, name);
        let mut connection = log.connect().await;
        eventstore::migrate(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        log
    }

    fn on(postgres: &Postgres, database: &str) -> Self {
        let options: PgConnectOptions = postgres.url(database, "postgres").parse().unwrap();
        Self { options: options.disable_statement_logging() }
    }

    /// Opens the log as a process does.
    pub(crate) fn open(&self) -> Process {
        let tasks = Tasks::new();
        let shutdown = CancellationToken::new();
        let pool = eventstore::pool(self.options.clone(), 8);
        Process { store: EventStore::open(pool, &tasks, shutdown.clone()), tasks, shutdown }
    }

    /// Connects as the superuser.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options).await.unwrap()
    }

    /// Returns all events, after checking that positions have no gap and the hash chain is intact.
    pub(crate) async fn verified(&self) -> Vec<RawEvent> {
        let process = self.open();
        let mut connection = self.connect().await;
        let head: (i64, Vec<u8>) = sqlx::query_as("select position, hash from log.head")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let hashes: Vec<Vec<u8>> =
            sqlx::query_scalar("select hash from log.event order by position")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let mut events: Vec<RawEvent> = Vec::new();
        while (events.len() as i64) < head.0 {
            let after = events.last().map_or(Position::START, |event| event.position);
            let filter = Filter::default();
            let page = process.store.read(after, Position(head.0), &filter, 1000).await;
            events.extend(page.unwrap().events);
        }
        let mut previous = Vec::new();
        for (index, (event, hash)) in events.iter().zip(&hashes).enumerate() {
            assert_eq!(event.position, Position(index as i64 + 1), "a gap");
            previous = eventstore::event_hash(&previous, event);
            assert_eq!(previous, *hash, "position {}", event.position);
        }
        assert_eq!(hashes.len() as i64, head.0);
        assert_eq!(previous, head.1, "the head's hash");
        events
    }
}

/// One process of the system; its tasks stop when it is dropped.
pub(crate) struct Process {
    pub(crate) store: EventStore,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: CancellationToken,
}

impl Process {
    pub(crate) fn relay(&self, bus: &Bus) -> Relay {
        let shutdown = self.shutdown.clone();
        Relay::start(self.store.clone(), bus.clone(), context_of, &self.tasks, shutdown)
    }

    pub(crate) fn feed(&self, bus: Option<&Bus>) -> Feed {
        let shutdown = self.shutdown.clone();
        Feed::start(&self.store, bus.cloned(), &self.tasks, shutdown)
    }

    /// Shuts down and waits for all tasks.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        within_deadline("the process ends", self.tasks.wait()).await;
    }

    /// Appends `count` events, alternating between contexts.
    pub(crate) async fn append(&self, count: usize) -> Position {
        let mut last = Position::START;
        for n in 0..count {
            let category = ["account", "note"][n % 2];
            let request = fact(StreamId::new(category, n % 7));
            last = position(&self.store.append(request).await);
        }
        last
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn context_of(category: &str) -> &'static str {
    match category {
        "account" => "accounts",
        "note" => "notes",
        _ => "unknown",
    }
}

pub(crate) fn stream(key: &str) -> StreamId {
    StreamId::new("account", key)
}

pub(crate) fn event() -> NewEvent {
    event_with(r#"{"amount": 1}"#)
}

pub(crate) fn event_with(data: &str) -> NewEvent {
    NewEvent {
        id: Uuid::now_v7(),
        encoded: Encoded { event_type: "happened".into(), schema_version: 1, data: data.into() },
    }
}

/// A request without an expected version, which is always accepted.
pub(crate) fn fact(stream: StreamId) -> Append {
    Append::to(stream, ExpectedVersion::Any, vec![event()])
}

pub(crate) fn part(stream: StreamId, expected: ExpectedVersion, events: usize) -> StreamAppend {
    StreamAppend { stream, expected, events: (0..events).map(|_| event()).collect() }
}

pub(crate) fn exact(version: i64) -> ExpectedVersion {
    ExpectedVersion::Exact(Version(version))
}

/// Returns the position of an accepted request; panics otherwise.
pub(crate) fn position(outcome: &Result<Appended, AppendError>) -> Position {
    match outcome {
        Ok(Appended::New { position, .. }) => *position,
        other => panic!("not appended: {other:?}"),
    }
}

/// Waits until the watched position is at least `position`.
pub(crate) async fn reaches(mut watched: watch::Receiver<Position>, position: Position) {
    let reached = watched.wait_for(|at| *at >= position);
    within_deadline(&format!("position {position}"), reached).await.unwrap();
}

/// Returns the positions that a subscription delivers until it has passed `position`.
pub(crate) async fn collect(subscription: &mut Subscription, position: Position) -> Vec<i64> {
    let mut positions = Vec::new();
    while subscription.position() < position {
        match within_deadline("a batch", subscription.next(100)).await {
            Ok(batch) => positions.extend(batch.events.iter().map(|event| event.position.0)),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    positions
}
