//! The consumer runtime: restarts, parking, retries on request, and rolling upgrades.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventsourcing::{Position, StreamId};
use eventstore::consume::{self, ConsumeError, Consumer, Failed, Session, Start};
use eventstore::parked::{self, Decision, Parked, Skip};
use eventstore::{Append, EventStore, ExpectedVersion, Filter, NewEvent, RawEvent};
use sqlx::PgConnection;
use tokio::sync::watch;

use tokio::task::JoinHandle;

use crate::world::{Log, Process, event, fact, position, reaches, stream, within_deadline};

/// Positions that a consumer treats in one way.
type Positions = Arc<Mutex<BTreeSet<i64>>>;

fn contains(positions: &Positions, event: &RawEvent) -> bool {
    positions.lock().unwrap().contains(&event.position.0)
}

/// Notes what it handles, fails at some events and panics at others.
#[derive(Default, Clone)]
struct Notes {
    handled: Arc<Mutex<Vec<i64>>>,
    fails_at: Positions,
    panics_at: Positions,
    checkpoint: watch::Sender<Position>,
    /// Newest schema version that the build knows, less 1.
    newer: i16,
    /// Batches that fail with an error before one is handled.
    outages: Arc<Mutex<usize>>,
    /// The only stream category it follows; all if empty.
    category: &'static str,
}

impl Notes {
    /// Runs it on `process` until that stops.
    fn run(&self, process: &Process) -> JoinHandle<()> {
        let (mut notes, store) = (self.clone(), process.store.clone());
        let (feed, shutdown) = (process.feed(None), process.shutdown.clone());
        tokio::spawn(async move { consume::run(&mut notes, &store, &feed, &shutdown).await })
    }

    fn handled(&self) -> Vec<i64> {
        self.handled.lock().unwrap().clone()
    }
}

impl Consumer for Notes {
    const NAME: &'static str = "notes";
    const BATCH_EVENTS: usize = 100;
    const HEARTBEAT: Duration = Duration::from_millis(200);

    fn name(&self) -> &str {
        if self.category.is_empty() { Self::NAME } else { self.category }
    }

    fn filter(&self) -> Filter {
        if self.category.is_empty() {
            return Filter::default();
        }
        Filter::categories(&[self.category])
    }

    fn knows(&self, event: &RawEvent) -> bool {
        event.schema_version <= self.newer + 1
    }

    async fn open(&mut self, store: &EventStore, _: Position) -> Result<Session, ConsumeError> {
        Ok(Session::Pool(store.pool().clone()))
    }

    async fn handle(
        &mut self,
        events: &[Arc<RawEvent>],
        _: &Parked,
    ) -> Result<Vec<Failed>, ConsumeError> {
        let left = self.outages.lock().unwrap().checked_sub(1);
        if let Some(left) = left {
            *self.outages.lock().unwrap() = left;
            return Err(ConsumeError::failed("an outage"));
        }
        let mut failed: Vec<Failed> = Vec::new();
        for event in events {
            assert!(!contains(&self.panics_at, event), "event {}", event.position);
            if failed.iter().any(|failed| failed.key == event.stream) {
                continue;
            }
            if contains(&self.fails_at, event) {
                let error = std::io::Error::other("by a test");
                failed.push(Failed::undecodable(event, &error));
            } else {
                self.handled.lock().unwrap().push(event.position.0);
            }
        }
        Ok(failed)
    }

    async fn commit(&mut self, _: &mut PgConnection) -> Result<(), ConsumeError> {
        Ok(())
    }

    fn committed(&mut self, position: Position) {
        self.checkpoint.send_replace(position);
    }
}

#[tokio::test]
async fn a_failed_event_parks_its_stream_until_a_retry_succeeds() {
    let log = Log::new().await;
    let process = log.open();
    for key in ["a", "b", "a", "c"] {
        process.store.append(fact(stream(key))).await.unwrap();
    }
    let notes = Notes::default();
    notes.fails_at.lock().unwrap().insert(1);
    let running = notes.run(&process);
    reaches(notes.checkpoint.subscribe(), Position(4)).await;
    assert_eq!(*notes.handled.lock().unwrap(), [2, 4], "both events of stream a wait");
    let pool = process.store.pool();
    let row = parked::get(pool, Notes::NAME, "account-a").await.unwrap().unwrap();
    assert_eq!((row.position, row.attempts), (Position(1), 1), "parked at once");
    assert!(row.error.contains("by a test"), "{}", row.error);

    notes.fails_at.lock().unwrap().clear();
    let decision = parked::request_retry(pool, Notes::NAME, "account-a").await.unwrap();
    assert_eq!(decision, Decision::Taken);
    let freed = async {
        while parked::get(pool, Notes::NAME, "account-a").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    within_deadline("the stream is freed", freed).await;
    assert_eq!(*notes.handled.lock().unwrap(), [2, 4, 1, 3], "in order");
    let last = position(&process.store.append(fact(stream("a"))).await);
    reaches(notes.checkpoint.subscribe(), last).await;
    process.stop().await;
    within_deadline("the consumer ends", running).await.unwrap();
}

/// The third panic of the event has been counted by the process before.
#[tokio::test]
async fn a_consumer_that_panics_is_restarted_and_parks_the_event() {
    let log = Log::new().await;
    let process = log.open();
    for key in ["a", "b", "c"] {
        process.store.append(fact(stream(key))).await.unwrap();
    }
    sqlx::raw_sql(
        "insert into log.checkpoint (consumer, position, starts) values ('notes', 0, 9);
         insert into log.parked (consumer, stream_id, position, attempts, error, parked)
         values ('notes', 'account-b', 2, 2, 'killed the process', false)",
    )
    .execute(process.store.pool())
    .await
    .unwrap();
    let notes = Notes::default();
    notes.panics_at.lock().unwrap().insert(2);
    let running = notes.run(&process);
    reaches(notes.checkpoint.subscribe(), Position(3)).await;
    assert_eq!(*notes.handled.lock().unwrap(), [1, 3]);
    let row = parked::get(process.store.pool(), Notes::NAME, "account-b").await.unwrap().unwrap();
    assert_eq!((row.position, &*row.error), (Position(2), "killed the process"));
    process.stop().await;
    within_deadline("the consumer ends", running).await.unwrap();
}

#[tokio::test]
async fn a_new_consumer_starts_where_it_chooses() {
    let log = Log::new().await;
    let process = log.open();
    let head = position(&process.store.append(fact(stream("a"))).await);
    for (consumer, start, at) in
        [("from_head", Start::Head, head), ("from_start", Start::FirstEvent, Position::START)]
    {
        let checkpoint = process.store.start_consumer_at(consumer, start).await.unwrap();
        assert_eq!((checkpoint.position, checkpoint.starts), (at, 1), "{consumer}");
    }
    process.store.append(fact(stream("a"))).await.unwrap();
    let checkpoint = process.store.start_consumer_at("from_head", Start::Head).await.unwrap();
    assert_eq!((checkpoint.position, checkpoint.starts), (head, 2), "a checkpoint stays");
    process.stop().await;
}

/// Appends an event in this schema version. Returns its position.
async fn append_version(process: &Process, key: &'static str, schema_version: i16) -> Position {
    let mut event: NewEvent = event();
    event.encoded.schema_version = schema_version;
    let request = Append::to(stream(key), ExpectedVersion::Any, vec![event]);
    position(&process.store.append(request).await)
}

/// Waits until the consumer waits at `position`. Returns the key.
async fn waits_at(process: &Process, position: Position) -> String {
    let waits = async {
        loop {
            let rows = parked::list(process.store.pool(), None, 10).await.unwrap();
            if let Some(row) = rows.into_iter().find(|row| row.position == position) {
                assert_eq!(row.attempts, 0, "{row:?}");
                assert!(row.error.contains("schema version 2"), "{row:?}");
                break row.stream_id;
            }
            tokio::task::yield_now().await;
        }
    };
    within_deadline("the consumer waits", waits).await
}

/// A rolling upgrade: a new build appends an event that the old build does not know.
#[tokio::test]
async fn an_old_build_waits_until_a_new_build_takes_over() {
    let log = Log::new().await;
    let (old_process, new_process) = (log.open(), log.open());
    let first = append_version(&new_process, "a", 1).await;
    let newer = append_version(&new_process, "b", 2).await;
    append_version(&new_process, "a", 1).await;
    let other = position(&new_process.store.append(fact(StreamId::new("note", 1))).await);

    let old = Notes::default();
    let of_notes = Notes { category: "note", ..Notes::default() };
    let (old_runs, others_run) = (old.run(&old_process), of_notes.run(&old_process));
    assert_eq!(waits_at(&old_process, newer).await, "account-b");
    reaches(of_notes.checkpoint.subscribe(), other).await;
    assert_eq!(of_notes.handled(), [other.0], "a consumer of another category goes on");
    assert_eq!(old.handled(), [first.0], "the old build stops in front of the event");
    let checkpoints = old_process.store.checkpoints().await.unwrap();
    let checkpoint = checkpoints.iter().find(|one| one.consumer == Notes::NAME).unwrap();
    assert_eq!(checkpoint.position, first);

    let new = Notes { newer: 1, ..Notes::default() };
    let new_runs = new.run(&new_process);
    reaches(new.checkpoint.subscribe(), other).await;
    assert_eq!(new.handled(), [2, 3, 4], "the new build continues at the checkpoint");
    // The old build resumes behind the new one, and no stream is parked.
    let resumed = async {
        while !parked::list(old_process.store.pool(), None, 10).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within_deadline("the old build no longer waits", resumed).await;
    new_process.stop().await;
    within_deadline("the new build ends", new_runs).await.unwrap();
    let last = append_version(&old_process, "c", 1).await;
    reaches(old.checkpoint.subscribe(), last).await;
    assert_eq!(old.handled(), [first.0, last.0], "the old build takes over again");
    old_process.stop().await;
    within_deadline("the consumers end", async { (old_runs.await, others_run.await) })
        .await
        .0
        .unwrap();
}

/// A new build was rolled back, and nothing will ever know its event.
#[tokio::test]
async fn an_operator_skips_an_event_that_no_build_knows() {
    let log = Log::new().await;
    let process = log.open();
    append_version(&process, "a", 1).await;
    let newer = append_version(&process, "b", 2).await;
    let last = append_version(&process, "b", 1).await;
    let notes = Notes::default();
    let running = notes.run(&process);
    let key = waits_at(&process, newer).await;
    let skip = Skip { reason: "rolled back", by: "a test" };
    let decision = parked::skip(process.store.pool(), Notes::NAME, &key, skip).await.unwrap();
    assert_eq!(decision, Decision::Taken);
    reaches(notes.checkpoint.subscribe(), last).await;
    assert_eq!(notes.handled(), [1, 3]);
    process.stop().await;
    within_deadline("the consumer ends", running).await.unwrap();
}

/// Restarts after orderly failures are no reason to suspect the events.
#[tokio::test]
async fn an_outage_parks_no_stream() {
    let log = Log::new().await;
    let process = log.open();
    let last = position(&process.store.append(fact(stream("a"))).await);
    // The process was killed before, while it handled this event.
    sqlx::raw_sql(
        "insert into log.checkpoint (consumer, position, starts) values ('notes', 0, 9);
         insert into log.parked (consumer, stream_id, position, attempts, error, parked)
         values ('notes', 'account-a', 1, 2, 'killed the process', false)",
    )
    .execute(process.store.pool())
    .await
    .unwrap();
    let notes = Notes::default();
    *notes.outages.lock().unwrap() = 2;
    let running = notes.run(&process);
    reaches(notes.checkpoint.subscribe(), last).await;
    assert_eq!(notes.handled(), [1]);
    assert_eq!(parked::list(process.store.pool(), None, 10).await.unwrap(), []);
    process.stop().await;
    within_deadline("the consumer ends", running).await.unwrap();
}
