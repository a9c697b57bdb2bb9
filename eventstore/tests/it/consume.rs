//! The consumer runtime: restarts, parking, and retries on request.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventsourcing::Position;
use eventstore::consume::{self, ConsumeError, Consumer, Failed, Session, Start};
use eventstore::parked::{self, Decision, Parked};
use eventstore::{EventStore, Filter, RawEvent};
use sqlx::PgConnection;
use tokio::sync::watch;

use crate::world::{Log, fact, position, reaches, stream, within_deadline};

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
}

impl Consumer for Notes {
    const NAME: &'static str = "notes";
    const BATCH_EVENTS: usize = 100;
    const HEARTBEAT: Duration = Duration::from_millis(200);

    fn filter(&self) -> Filter {
        Filter::default()
    }

    async fn open(&mut self, store: &EventStore, _: Position) -> Result<Session, ConsumeError> {
        Ok(Session::Pool(store.pool().clone()))
    }

    async fn handle(
        &mut self,
        events: &[Arc<RawEvent>],
        _: &Parked,
    ) -> Result<Vec<Failed>, ConsumeError> {
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
    let running = {
        let (mut notes, store) = (notes.clone(), process.store.clone());
        let (feed, shutdown) = (process.feed(None), process.shutdown.clone());
        tokio::spawn(async move { consume::run(&mut notes, &store, &feed, &shutdown).await })
    };
    reaches(notes.checkpoint.subscribe(), Position(4)).await;
    assert_eq!(*notes.handled.lock().unwrap(), [2, 4], "both events of stream a wait");
    let pool = process.store.pool();
    let row = parked::get(pool, Notes::NAME, "account-a").await.unwrap().unwrap();
    assert_eq!((row.position, row.attempts), (Position(1), 3));
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
    let running = {
        let (mut notes, store) = (notes.clone(), process.store.clone());
        let (feed, shutdown) = (process.feed(None), process.shutdown.clone());
        tokio::spawn(async move { consume::run(&mut notes, &store, &feed, &shutdown).await })
    };
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
