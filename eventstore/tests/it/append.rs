//! What append guarantees.

use std::pin::Pin;

use eventsourcing::{Position, StreamId, Version};
use eventstore::{
    Append, AppendError, Appended, EventStore, ExpectedVersion, Filter, Known, NewReceipt,
    StreamAppend,
};
use futures::future::join_all;
use serde_json::value::RawValue;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::world::{Log, event, event_with, exact, fact, part, position, stream, within_deadline};

type Outcome = Result<Appended, AppendError>;

const ANY: ExpectedVersion = ExpectedVersion::Any;
const NO_STREAM: ExpectedVersion = ExpectedVersion::NoStream;
const STREAM_EXISTS: ExpectedVersion = ExpectedVersion::StreamExists;

fn expecting(stream: StreamId, expected: ExpectedVersion) -> Append {
    Append::to(stream, expected, vec![event()])
}

fn is_conflict(outcome: &Outcome, version: i64) -> bool {
    matches!(outcome, Err(AppendError::Conflict { actual, .. }) if *actual == Version(version))
}

/// Appends `requests` in one batch: while another session locks the head, the appender waits with a
/// first request, and these gather behind it.
async fn in_one_batch(log: &Log, store: &EventStore, requests: Vec<Append>) -> Vec<Outcome> {
    let mut holder = log.connect().await;
    sqlx::raw_sql("begin; select from log.head for update").execute(&mut holder).await.unwrap();
    let first = fact(stream("first"));
    let mut pending: Vec<Pin<Box<dyn Future<Output = Outcome> + '_>>> =
        vec![Box::pin(store.append(first))];
    assert!(futures::poll!(&mut pending[0]).is_pending());
    let mut observer = log.connect().await;
    within_deadline("the appender waits", waits_for_a_lock(&mut observer)).await;
    for request in requests {
        let mut outcome: Pin<Box<dyn Future<Output = Outcome>>> = Box::pin(store.append(request));
        assert!(futures::poll!(&mut outcome).is_pending());
        pending.push(outcome);
    }
    sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    let mut outcomes = within_deadline("the batch", join_all(pending)).await;
    outcomes.split_off(1)
}

async fn waits_for_a_lock(observer: &mut PgConnection) {
    let sql = "select exists (select from pg_stat_activity
               where datname = current_database() and wait_event_type = 'Lock')";
    while !sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut *observer).await.unwrap() {}
}

#[tokio::test]
async fn every_expected_version_is_enforced() {
    let log = Log::new().await;
    let store = &log.open().store;
    for (expected, on_none, on_two) in [
        (ANY, true, true),
        (NO_STREAM, true, false),
        (STREAM_EXISTS, false, true),
        (exact(0), true, false),
        (exact(1), false, false),
        (exact(2), false, true),
        (exact(3), false, false),
    ] {
        let fresh = stream(&Uuid::now_v7().to_string());
        let outcome = store.append(expecting(fresh, expected)).await;
        assert_eq!(outcome.is_ok(), on_none, "{expected:?} on none: {outcome:?}");
        assert!(on_none || is_conflict(&outcome, 0));

        let two = stream(&Uuid::now_v7().to_string());
        let made = Append::to(two.clone(), NO_STREAM, vec![event(), event()]);
        position(&store.append(made).await);
        let outcome = store.append(expecting(two, expected)).await;
        assert_eq!(outcome.is_ok(), on_two, "{expected:?} on two: {outcome:?}");
        assert!(on_two || is_conflict(&outcome, 2));
    }
    log.verified().await;
}

#[tokio::test]
async fn every_expected_version_is_enforced_between_requests_of_one_batch() {
    let log = Log::new().await;
    let process = log.open();
    let to = |key: &str, expected| expecting(stream(key), expected);
    let outcomes = in_one_batch(
        &log,
        &process.store,
        vec![
            to("none", NO_STREAM),
            to("none", NO_STREAM),
            to("exists", STREAM_EXISTS),
            to("exists", ANY),
            to("exists", STREAM_EXISTS),
            to("exact", exact(0)),
            to("exact", exact(0)),
            to("exact", exact(1)),
            to("exact", exact(3)),
        ],
    )
    .await;
    let written: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    let expected = [true, false, false, true, true, true, false, true, false];
    assert_eq!(written, expected, "{outcomes:?}");
    assert!(is_conflict(&outcomes[1], 1));
    assert!(is_conflict(&outcomes[2], 0));
    assert!(is_conflict(&outcomes[6], 1));
    assert!(is_conflict(&outcomes[8], 2));
    let events = log.verified().await;
    let batch: Vec<_> = events[1..].iter().map(|event| event.recorded_at).collect();
    assert_eq!(batch, [batch[0]; 5], "not one batch");
}

#[tokio::test]
async fn several_streams_are_written_together_or_not_at_all() {
    let log = Log::new().await;
    let process = log.open();
    let store = &process.store;
    let transfer = |from, to| Append {
        streams: vec![part(stream("from"), from, 1), part(stream("to"), to, 2)],
        ..Append::default()
    };
    let outcome = store.append(transfer(NO_STREAM, NO_STREAM)).await;
    let recorded_at = log.verified().await[0].recorded_at;
    let (position, version) = (Position(3), Version(1));
    let expected = Appended::New { position, version, recorded_at, known: Vec::new() };
    assert_eq!(outcome.unwrap(), expected, "the time is that of the events");
    assert!(is_conflict(&store.append(transfer(exact(1), NO_STREAM)).await, 2));
    assert!(is_conflict(&store.append(transfer(NO_STREAM, exact(2))).await, 1));
    let outcomes = in_one_batch(
        &log,
        store,
        vec![
            transfer(exact(1), exact(2)),
            transfer(exact(2), exact(2)), // The one before has moved it to 4.
            transfer(exact(2), exact(4)),
        ],
    )
    .await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert!(is_conflict(&outcomes[1], 4));
    let events = log.verified().await;
    let to = events.iter().filter(|event| event.stream == stream("to"));
    assert_eq!((events.len(), to.count()), (10, 6)); // One of them was the first of the batch.
}

#[tokio::test]
async fn a_stream_without_events_is_checked() {
    let log = Log::new().await;
    let process = log.open();
    let store = &process.store;
    let guarded = |expected| Append {
        streams: vec![part(stream("written"), ANY, 1), part(stream("checked"), expected, 0)],
        ..Append::default()
    };
    position(&store.append(guarded(NO_STREAM)).await);
    assert!(is_conflict(&store.append(guarded(STREAM_EXISTS)).await, 0));
    let outcomes = in_one_batch(
        &log,
        store,
        vec![
            guarded(NO_STREAM),
            expecting(stream("checked"), NO_STREAM),
            guarded(NO_STREAM),
            guarded(exact(1)),
        ],
    )
    .await;
    let written: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(written, [true, true, false, true], "{outcomes:?}");
    assert_eq!(log.verified().await.len(), 5);
}

#[tokio::test]
async fn a_refused_request_fails_alone_and_takes_no_position() {
    let log = Log::new().await;
    let process = log.open();
    let seen = event();
    let before = Append::to(stream("seen"), ANY, vec![seen.clone()]);
    position(&process.store.append(before).await);
    let to = |key: &str, events| Append::to(stream(key), ANY, events);
    let outcomes = in_one_batch(
        &log,
        &process.store,
        vec![
            to("good", vec![event()]),
            expecting(stream("seen"), NO_STREAM),
            to("good", vec![event()]),
            to("other", vec![seen.clone(), seen]),
            to("good", vec![event()]),
            to("bad", vec![event(), event_with(r#"{"not": json"#)]),
            to("good", vec![event()]),
            to("bad", vec![event(), event_with("[")]),
            to("good", vec![event()]),
        ],
    )
    .await;
    let good: Vec<i64> = outcomes.iter().step_by(2).map(|outcome| position(outcome).0).collect();
    assert_eq!(good, [3, 4, 5, 6, 7]);
    assert!(is_conflict(&outcomes[1], 1));
    let duplicate = Appended::Duplicate { position: Position(1) };
    assert_eq!(*outcomes[3].as_ref().unwrap(), duplicate);
    assert!(matches!(outcomes[5], Err(AppendError::BadData(_))), "{:?}", outcomes[5]);
    assert!(matches!(outcomes[7], Err(AppendError::BadData(_))), "{:?}", outcomes[7]);
    let events = log.verified().await;
    assert_eq!(events.len(), 7);
    assert!(events.iter().all(|event| event.stream != stream("bad")));
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_is_refused() {
    let log = Log::new().await;
    let process = log.open();
    let store = &process.store;
    let nul = event_with(r#"{"text": "a\u0000b"}"#);
    let nul = store.append(Append::to(stream("nul"), ANY, vec![nul])).await;
    assert!(matches!(nul, Err(AppendError::BadData(_))), "{nul:?}");
    let escaped = event_with(r#"{"text": "a\\u0000b"}"#);
    let escaped = store.append(Append::to(stream("nul"), ANY, vec![escaped])).await;
    assert_eq!(position(&escaped), Position(1));
    let large =
        event_with(&format!(r#"{{"text": "{}"}}"#, "x".repeat(eventstore::MAX_REQUEST_BYTES)));
    let large = store.append(Append::to(stream("large"), ANY, vec![large])).await;
    assert!(matches!(large, Err(AppendError::BadData(_))));
}

fn receipt(key: &str, body: &str, response: &str) -> NewReceipt {
    let response = RawValue::from_string(response.to_owned()).unwrap();
    NewReceipt::new(key.to_owned(), body.as_bytes(), response)
}

fn command(key: &str, body: &str, response: &str) -> Append {
    fact(stream("command")).receipt(Some(receipt(key, body, response)))
}

/// Returns the stored response of a repeated request, and the position of its event.
fn replayed(outcome: &Outcome) -> (&str, Position) {
    match outcome {
        Ok(Appended::Replayed(receipt)) => (&*receipt.response, receipt.position),
        other => panic!("not replayed: {other:?}"),
    }
}

#[tokio::test]
async fn a_repeated_idempotency_key_returns_the_stored_response() {
    let log = Log::new().await;
    let process = log.open();
    let first = position(&process.store.append(command("key", "body", r#"{"n": 1}"#)).await);
    let again = process.store.append(command("key", "body", r#"{"n": 2}"#)).await;
    assert_eq!(replayed(&again), (r#"{"n": 1}"#, first));
    let other = process.store.append(command("key", "other", "{}")).await;
    assert!(matches!(other, Err(AppendError::KeyReused)));
    process.stop().await;

    let process = log.open();
    let later = process.store.append(command("key", "body", r#"{"n": 3}"#)).await;
    assert_eq!(replayed(&later), (r#"{"n": 1}"#, first));
    let known = process.store.receipt("key").await.unwrap().unwrap();
    assert_eq!(&*known.response, r#"{"n": 1}"#);
    assert_eq!(log.verified().await.len(), 1);
}

#[tokio::test]
async fn of_concurrent_requests_with_one_idempotency_key_one_is_appended() {
    let log = Log::new().await;
    let process = log.open();
    let outcomes = in_one_batch(
        &log,
        &process.store,
        vec![
            expecting(stream("command"), exact(9)).receipt(Some(receipt("key", "body", "0"))),
            command("key", "body", "1"),
            command("key", "body", "2"),
            command("key", "other", "3"),
        ],
    )
    .await;
    assert!(is_conflict(&outcomes[0], 0), "a refusal uses up no key");
    let won = position(&outcomes[1]);
    assert_eq!(replayed(&outcomes[2]), ("1", won));
    assert!(matches!(outcomes[3], Err(AppendError::KeyReused)));

    let other = log.open();
    for round in 0..20 {
        let key = format!("round {round}");
        let here = process.store.append(command(&key, "body", r#""here""#));
        let there = other.store.append(command(&key, "body", r#""there""#));
        let (here, there) = tokio::join!(here, there);
        match (&here, &there) {
            (Ok(Appended::New { position, .. }), again) => {
                assert_eq!(replayed(again), (r#""here""#, *position));
            }
            (again, Ok(Appended::New { position, .. })) => {
                assert_eq!(replayed(again), (r#""there""#, *position));
            }
            neither => panic!("{neither:?}"),
        }
    }
    assert_eq!(log.verified().await.len(), 22);
}

#[tokio::test]
async fn an_event_with_a_known_id_is_a_duplicate() {
    let log = Log::new().await;
    let process = log.open();
    let request = Append::to(stream("one"), NO_STREAM, vec![event()]);
    let first = position(&process.store.append(request.clone()).await);
    let duplicate = Appended::Duplicate { position: first };
    // A duplicate, not a conflict: a caller without a response repeats its request.
    assert_eq!(process.store.append(request.clone()).await.unwrap(), duplicate);
    let elsewhere = Append {
        streams: vec![StreamAppend { stream: stream("two"), ..request.streams[0].clone() }],
        ..Append::default()
    };
    assert_eq!(log.open().store.append(elsewhere).await.unwrap(), duplicate);
    let fresh = fact(stream("three"));
    let outcomes = in_one_batch(&log, &process.store, vec![fresh.clone(), fresh, request]).await;
    let position = position(&outcomes[0]);
    assert_eq!(*outcomes[1].as_ref().unwrap(), Appended::Duplicate { position });
    assert_eq!(*outcomes[2].as_ref().unwrap(), duplicate);
    log.verified().await;
}

#[tokio::test]
async fn a_known_event_does_not_discard_the_other_events_of_its_request() {
    let log = Log::new().await;
    let process = log.open();
    let store = &process.store;
    let (known, twice) = (event(), event());
    let to = |key: &str, events| Append::to(stream(key), ANY, events);
    let first = position(&store.append(to("one", vec![known.clone()])).await);
    let mixed = to("one", vec![event(), known.clone(), event()]);
    let doubled = to("two", vec![twice.clone(), twice.clone()]);
    let outcomes = in_one_batch(&log, store, vec![mixed.clone(), doubled]).await;
    let of_known = Known { id: known.id, position: first };
    // The batch begins with an event of its own at position 2.
    let recorded_at = log.verified().await[2].recorded_at;
    let (position, version) = (Position(4), Version(3));
    let expected = Appended::New { position, version, recorded_at, known: vec![of_known] };
    assert_eq!(*outcomes[0].as_ref().unwrap(), expected);
    let (position, version) = (Position(5), Version(1));
    let known = vec![Known { id: twice.id, position }];
    let expected = Appended::New { position, version, recorded_at, known };
    assert_eq!(*outcomes[1].as_ref().unwrap(), expected);
    // Now every event is known; a request with a version check is no different.
    let duplicate = Appended::Duplicate { position: Position(3) };
    assert_eq!(store.append(mixed.clone()).await.unwrap(), duplicate);
    let [part] = &mixed.streams[..] else { panic!("one stream") };
    let checked = |version, events| Append::to(part.stream.clone(), exact(version), events);
    assert_eq!(store.append(checked(1, part.events.clone())).await.unwrap(), duplicate);
    // A request with a new event is checked like any other.
    let with_new = [part.events.clone(), vec![event()]].concat();
    assert!(is_conflict(&store.append(checked(1, with_new.clone())).await, 3));
    let outcome = store.append(checked(3, with_new)).await.unwrap();
    let Appended::New { position, known, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((position, known.len()), (Position(6), 3));
    let events = log.verified().await;
    assert_eq!(events.iter().filter(|event| event.stream == stream("one")).count(), 4);
}

#[tokio::test]
async fn an_event_in_a_stream_with_an_unusual_id_is_read() {
    let log = Log::new().await;
    let process = log.open();
    position(&process.store.append(fact(stream("usual"))).await);
    let long = StreamId::stored(format!("account-{}", "x".repeat(StreamId::MAX_BYTES)));
    let refused = process.store.append(fact(long.clone())).await;
    assert!(matches!(refused, Err(AppendError::BadData(_))), "{refused:?}");
    // As a build with another limit would have written it.
    sqlx::query("update log.event set stream_id = $1 where position = 1")
        .bind(long.as_str())
        .execute(&mut log.connect().await)
        .await
        .unwrap();
    let filter = Filter::default();
    let page = process.store.read(Position::START, Position(1), &filter, 10).await.unwrap();
    assert_eq!(page.events[0].stream, long);
    let mut subscription = process.feed(None).subscribe(Position::START, filter);
    let batch = within_deadline("the event", subscription.next(10)).await.unwrap();
    assert_eq!(batch.events[0].stream, long);
}

#[tokio::test]
async fn a_cancelled_append_is_written_whole_and_blocks_nothing() {
    let log = Log::new().await;
    let process = log.open();
    let mut holder = log.connect().await;
    sqlx::raw_sql("begin; select from log.head for update").execute(&mut holder).await.unwrap();
    let gone = Append {
        streams: vec![part(stream("a"), ANY, 2), part(stream("b"), ANY, 3)],
        ..Append::default()
    };
    for request in [gone.clone(), fact(stream("c")), fact(stream("d"))] {
        let mut outcome = Box::pin(process.store.append(request));
        assert!(futures::poll!(&mut outcome).is_pending());
        drop(outcome);
    }
    sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    let after = process.store.append(fact(stream("e"))).await;
    assert_eq!(position(&after), Position(8), "a request that was accepted is written whole");
    let again = process.store.append(gone).await.unwrap();
    assert!(matches!(again, Appended::Duplicate { .. }));
    log.verified().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_append_concurrently() {
    const WRITERS: usize = 16;
    const EACH: usize = 60;
    let log = Log::new().await;
    let processes = [log.open(), log.open()];
    let done = tokio_util::sync::CancellationToken::new();
    let reader = tokio::spawn(read_without_gaps(log.clone(), done.clone()));
    let writers = (0..WRITERS).map(|writer| {
        let store = processes[writer % 2].store.clone();
        tokio::spawn(async move {
            // All writers increment the versions of the same four streams.
            let counted = stream(&format!("counter {}", writer % 4));
            let (mut version, mut written) = (0, 0);
            while written < EACH {
                let outcome = store.append(expecting(counted.clone(), exact(version))).await;
                match outcome {
                    Ok(Appended::New { version: now, .. }) => {
                        assert_eq!(now, Version(version + 1));
                        version = now.0;
                        written += 1;
                    }
                    Err(AppendError::Conflict { actual, .. }) => version = actual.0,
                    other => panic!("{other:?}"),
                }
            }
        })
    });
    for writer in within_deadline("the writers", join_all(writers)).await {
        writer.unwrap();
    }
    done.cancel();
    let reads = reader.await.unwrap();
    assert!(reads > 0, "the reader read {reads} times");
    assert_eq!(log.verified().await.len(), WRITERS * EACH);
}

/// Checks that a reader that has seen a position has seen every one below it. Returns its reads.
async fn read_without_gaps(log: Log, done: tokio_util::sync::CancellationToken) -> usize {
    let mut connection = log.connect().await;
    let (mut reads, mut seen) = (0, 0);
    while !done.is_cancelled() {
        let (count, last): (i64, i64) =
            sqlx::query_as("select count(*), coalesce(max(position), 0) from log.event")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        assert_eq!(count, last, "a gap");
        assert!(last >= seen, "the head went back");
        seen = last;
        reads += 1;
    }
    reads
}
