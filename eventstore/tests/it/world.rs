//! What the tests are made of: a log of their own, processes that share it, and what they ask.

use std::time::Duration;

use eventsourcing::event::Encoded;
use eventsourcing::{Position, StreamId, Version};
use eventstore::{
    Append, AppendError, Appended, Bus, EventStore, ExpectedVersion, Feed, Filter, NewEvent,
    RawEvent, Relay, StreamAppend, Subscription,
};
use sqlx::{Connection, PgConnection};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::servers::Postgres;

/// Longest wait for anything that has to happen.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for what has to happen.
pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, happens).await;
    happened.unwrap_or_else(|_elapsed| panic!("waited too long: {what}"))
}

/// The server most tests share, with a database each.
async fn shared() -> &'static Postgres {
    static SHARED: OnceCell<Postgres> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let postgres = Postgres::start().await;
            Log::make(&postgres, "template").await;
            postgres
        })
        .await
}

/// A log.
#[derive(Clone)]
pub(crate) struct Log {
    options: sqlx::postgres::PgConnectOptions,
}

impl Log {
    /// A new one on the shared server.
    pub(crate) async fn new() -> Self {
        let postgres = shared().await;
        let name = format!("log_{}", Uuid::now_v7().simple());
        let mut connection = postgres.connect("postgres").await.unwrap();
        let sql = format!("create database {name} template template");
        sqlx::raw_sql(&sql).execute(&mut connection).await.unwrap();
        Self { options: postgres.options(&name) }
    }

    /// A new one on a server of the test's own.
    pub(crate) async fn make(postgres: &Postgres, name: &str) -> Self {
        let mut connection = postgres.connect("postgres").await.unwrap();
        let sql = format!("create database {name}");
        sqlx::raw_sql(&sql).execute(&mut connection).await.unwrap();
        let mut connection = postgres.connect(name).await.unwrap();
        eventstore::migrate(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        Self { options: postgres.options(name) }
    }

    /// A process that uses it.
    pub(crate) fn open(&self) -> Process {
        let tasks = TaskTracker::new();
        let shutdown = CancellationToken::new();
        let pool = eventstore::pool(self.options.clone(), 8);
        Process { store: EventStore::open(pool, &tasks, shutdown.clone()), tasks, shutdown }
    }

    /// A connection of the administrator's.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options).await.unwrap()
    }

    /// Everything in it, checked: no gap, and every link of the chain right.
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

/// One process of the system: what it does stops when it is dropped.
pub(crate) struct Process {
    pub(crate) store: EventStore,
    pub(crate) tasks: TaskTracker,
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

    /// Ends it in good order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        soon("the process ends", self.tasks.wait()).await;
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

/// A request that is always accepted.
pub(crate) fn fact(stream: StreamId) -> Append {
    Append::to(stream, ExpectedVersion::Any, vec![event()])
}

pub(crate) fn part(stream: StreamId, expected: ExpectedVersion, events: usize) -> StreamAppend {
    StreamAppend { stream, expected, events: (0..events).map(|_| event()).collect() }
}

pub(crate) fn exact(version: i64) -> ExpectedVersion {
    ExpectedVersion::Exact(Version(version))
}

/// Where an accepted request was written.
pub(crate) fn position(outcome: &Result<Appended, AppendError>) -> Position {
    match outcome {
        Ok(Appended::New { position, .. }) => *position,
        other => panic!("not written: {other:?}"),
    }
}

/// Waits until what is watched has come to `position`.
pub(crate) async fn reaches(mut watched: watch::Receiver<Position>, position: Position) {
    let reached = watched.wait_for(|at| *at >= position);
    soon(&format!("position {position}"), reached).await.unwrap();
}

/// Everything a subscription delivers, until it is through with `position`.
pub(crate) async fn collect(subscription: &mut Subscription, position: Position) -> Vec<i64> {
    let mut positions = Vec::new();
    while subscription.position() < position {
        match soon("a batch", subscription.next(100)).await {
            Ok(batch) => positions.extend(batch.events.iter().map(|event| event.position.0)),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    positions
}
