//! The relay publishes every event once and in order, whatever happens to the stream.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use devservers::Nats;
use eventsourcing::{Metadata, Position};
use eventstore::{Append, Bus, BusOptions, ExpectedVersion, STREAM, StreamAppend};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::world::{
    Log, Process, event, event_with, fact, position, reaches, start_nats, stream, within_deadline,
};

async fn stream_of(bus: &Bus) -> Stream {
    within_deadline("the stream", async {
        loop {
            if let Ok(stream) = bus.jetstream().get_stream(STREAM).await {
                return stream;
            }
        }
    })
    .await
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.as_str())
}

/// Returns the messages of the stream from its beginning up to that of position `last`.
pub(crate) async fn everything(bus: &Bus, last: Position) -> Vec<async_nats::Message> {
    let stream = stream_of(bus).await;
    let consumer = stream.create_consumer(pull::OrderedConfig {
        deliver_policy: DeliverPolicy::All,
        ..pull::OrderedConfig::default()
    });
    let mut delivered = consumer.await.unwrap().messages().await.unwrap();
    let mut messages = Vec::new();
    loop {
        let message =
            within_deadline("a message", delivered.next()).await.unwrap().unwrap().message;
        let carried = message.headers.as_ref();
        let end = carried.is_some_and(|headers| {
            headers.get("Tributary-Deployment").is_some()
                && header(headers, "Tributary-Position") == last.to_string()
        });
        messages.push(message);
        if end {
            return messages;
        }
    }
}

fn positions(messages: &[async_nats::Message]) -> Vec<i64> {
    messages
        .iter()
        .map(|message| {
            let position = header(message.headers.as_ref().unwrap(), "Tributary-Position");
            position.parse().unwrap()
        })
        .collect()
}

/// Checks that the stream holds each event of the log once and in order, and nothing else.
pub(crate) async fn holds_everything(bus: &Bus, last: Position) {
    let messages = everything(bus, last).await;
    assert!(positions(&messages).into_iter().eq(1..=last.0), "{:?}", positions(&messages));
    let state = stream_of(bus).await.get_info().await.unwrap().state;
    assert_eq!(state.messages, u64::try_from(last.0).unwrap());
}

#[tokio::test]
async fn a_message_carries_the_whole_event() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let metadata = Metadata {
        actor: Some("Zoë".to_owned()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ..Metadata::default()
    };
    let streams = ["account-1", "note-a.b c", "account-1", "other-1"].map(|name| StreamAppend {
        stream: eventsourcing::StreamId::parse(name).unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![event_with("{ \"amount\" : 1.0 }")],
    });
    for part in streams {
        let request = Append { streams: vec![part], metadata: metadata.clone(), receipt: None };
        position(&process.store.append(request).await);
    }
    reaches(relay.position(), Position(4)).await;
    let messages = everything(&bus, Position(4)).await;
    let subjects: Vec<&str> = messages.iter().map(|message| message.subject.as_str()).collect();
    let expected = [
        "events.accounts.account.1.happened",
        "events.notes.note.a%2Eb%20c.happened",
        "events.accounts.account.1.happened",
        "events.unknown.other.1.happened",
    ];
    assert_eq!(subjects, expected);
    let events = log.verified().await;
    let previous = ["0", "0", "1", "0"];
    for ((message, event), previous) in messages.iter().zip(&events).zip(previous) {
        let headers = message.headers.as_ref().unwrap();
        assert_eq!(*message.payload, *event.data.as_bytes());
        assert_eq!(header(headers, "Tributary-Previous"), previous);
        assert_eq!(header(headers, "Tributary-Version"), event.version.to_string());
        assert_eq!(header(headers, "Tributary-Metadata"), &*event.metadata);
        assert_eq!(header(headers, "ce-id"), event.id.to_string());
        assert_eq!(header(headers, "ce-type"), "happened");
        assert_eq!(header(headers, "ce-specversion"), "1.0");
        assert_eq!(header(headers, "content-type"), "application/json");
        assert_eq!(header(headers, "ce-traceparent"), metadata.traceparent.as_deref().unwrap());
    }
    assert_eq!(header(messages[0].headers.as_ref().unwrap(), "ce-source"), "/tributary/accounts");
    assert_eq!(header(messages[1].headers.as_ref().unwrap(), "ce-subject"), "note-a.b%20c");
}

#[tokio::test]
async fn the_stream_has_the_configured_limits() {
    let nats = start_nats().await;
    let options = BusOptions {
        max_bytes: Some(10_000_000),
        max_age: Some(Duration::from_hours(1)),
        ..BusOptions::default()
    };
    let limited = Bus::open(&nats.url().as_str().into(), options).await.unwrap();
    let owner = Log::new().await.open().store.owner().await.unwrap();
    let config = limited.ensure_stream(owner).await.unwrap().0.config;
    assert_eq!((config.max_bytes, config.max_age), (10_000_000, Duration::from_hours(1)));
    // Without limits the stream is unchanged; other limits are applied.
    let plain = Bus::connect(&nats.url()).await.unwrap();
    assert_eq!(plain.ensure_stream(owner).await.unwrap().0.config.max_bytes, 10_000_000);
    let options = BusOptions { max_bytes: Some(20_000_000), ..BusOptions::default() };
    let larger = Bus::open(&nats.url().as_str().into(), options).await.unwrap();
    assert_eq!(larger.ensure_stream(owner).await.unwrap().0.config.max_bytes, 20_000_000);
}

#[tokio::test]
async fn a_relay_resumes_where_the_previous_one_stopped() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let writer = log.open();
    for round in 1..=5 {
        let process = log.open();
        let bus = Bus::connect(&nats.url()).await.unwrap();
        let relay = process.relay(&bus);
        let last = writer.append(100).await;
        // The relay is stopped before it has published everything.
        reaches(relay.position(), Position(last.0 - 10 * round)).await;
        process.stop().await;
    }
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let last = writer.append(2).await;
    reaches(relay.position(), last).await;
    holds_everything(&bus, last).await;
    let messages = everything(&bus, last).await;
    // Events of two contexts alternate, so the previous event of the context is two positions
    // before.
    for message in &messages[2..] {
        let headers = message.headers.as_ref().unwrap();
        let number = |name| header(headers, name).parse::<i64>().unwrap();
        assert_eq!(number("Tributary-Previous"), number("Tributary-Position") - 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_relays_one_publishes() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let writer = log.open();
    let mut relays = Vec::new();
    for _ in 0..3 {
        let process = log.open();
        let bus = Bus::connect(&nats.url()).await.unwrap();
        let relay = process.relay(&bus);
        relays.push((process, bus, relay));
        writer.append(200).await;
    }
    let last = writer.append(200).await;
    for (_, _, relay) in &relays {
        reaches(relay.position(), last).await;
    }
    let bus = relays[0].1.clone();
    holds_everything(&bus, last).await;
    // Each time a relay stops, another takes over.
    while let Some((process, _, _)) = relays.pop() {
        if relays.is_empty() {
            break;
        }
        process.stop().await;
        let last = writer.append(50).await;
        reaches(relays[0].2.position(), last).await;
        holds_everything(&bus, last).await;
    }
}

/// Appends until the token is cancelled. Returns the last position.
fn append_until_stopped(log: &Log) -> (CancellationToken, tokio::task::JoinHandle<Position>) {
    let stop = CancellationToken::new();
    let (process, stopped) = (log.open(), stop.clone());
    let appending = tokio::spawn(async move {
        let mut last = Position::START;
        while !stopped.is_cancelled() {
            last = process.append(20).await;
        }
        last
    });
    (stop, appending)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_continue_and_the_relay_resumes_after_restarts_of_nats() {
    let (log, mut nats) = (Log::new().await, start_nats().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let (stop, appending) = append_until_stopped(&log);
    for round in 1..=3 {
        reaches(relay.position(), Position(round * 200)).await;
        nats.kill().await;
        let head = process.store.head().await.unwrap();
        within_deadline("appends go on", async {
            while process.store.head().await.unwrap().0 < head.0 + 50 {}
        })
        .await;
        nats.restart().await.unwrap();
    }
    stop.cancel();
    let last = appending.await.unwrap();
    reaches(relay.position(), last).await;
    holds_everything(&bus, last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_relay_waits_for_a_nats_that_starts_late() {
    let (log, mut nats) = (Log::new().await, start_nats().await);
    nats.kill().await;
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let last = process.append(10).await;
    nats.wipe_jetstream().await.unwrap();
    reaches(relay.position(), last).await;
    holds_everything(&bus, last).await;
}

/// Applies `disaster` to the stream of a relay, idle and under load, and expects the relay to
/// refill it.
async fn refilled_after_loss<F, Fut>(disaster: F)
where
    F: Fn(Nats, Bus) -> Fut,
    Fut: Future<Output = Nats>,
{
    let (log, mut nats) = (Log::new().await, start_nats().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let last = process.append(300).await;
    reaches(relay.position(), last).await;
    nats = disaster(nats, bus.clone()).await;
    within_deadline("the relay notices", is_complete(&bus, last)).await;
    holds_everything(&bus, last).await;

    let (stop, appending) = append_until_stopped(&log);
    reaches(relay.position(), Position(last.0 + 100)).await;
    nats = disaster(nats, bus.clone()).await;
    let head = process.store.head().await.unwrap();
    reaches(relay.position(), Position(head.0 + 100)).await;
    stop.cancel();
    let last = appending.await.unwrap();
    within_deadline("the relay notices", is_complete(&bus, last)).await;
    holds_everything(&bus, last).await;
    drop(nats);
}

/// Waits until the stream has as many messages as the log has events.
async fn is_complete(bus: &Bus, last: Position) {
    let expected = u64::try_from(last.0).unwrap();
    loop {
        if let Ok(stream) = bus.jetstream().get_stream(STREAM).await
            && stream.cached_info().state.messages == expected
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wiped_server_is_refilled() {
    refilled_after_loss(|mut nats, _bus| async move {
        nats.wipe_jetstream().await.unwrap();
        nats
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_purged_stream_is_refilled() {
    refilled_after_loss(|nats, bus| async move {
        stream_of(&bus).await.purge().await.unwrap();
        nats
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_stream_is_created_again() {
    refilled_after_loss(|nats, bus| async move {
        bus.jetstream().delete_stream(STREAM).await.unwrap();
        nats
    })
    .await;
}

#[tokio::test]
async fn foreign_messages_are_skipped() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    reaches(relay.position(), process.append(10).await).await;
    for _ in 0..3 {
        let foreign = bus.jetstream().publish("events.foreign.a.b.c", "{}".into()).await;
        foreign.unwrap().await.unwrap();
    }
    let last = process.append(10).await;
    reaches(relay.position(), last).await;
    let carried: Vec<i64> = everything(&bus, last)
        .await
        .iter()
        .filter_map(|message| header(message.headers.as_ref()?, "Tributary-Position").parse().ok())
        .collect();
    assert!(carried.into_iter().eq(1..=last.0));
}

/// Foreign messages take sequence numbers that the relay expects for its own; the order must hold.
#[tokio::test]
async fn foreign_messages_do_not_change_the_order_of_events() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let mut last = process.append(10).await;
    for foreign_messages in [1, 3, 7] {
        reaches(relay.position(), last).await;
        for _ in 0..foreign_messages {
            let foreign = bus.jetstream().publish("events.foreign.a.b.c", "{}".into()).await;
            foreign.unwrap().await.unwrap();
        }
        // Committed together, so that the relay has all of them in flight.
        let part = StreamAppend {
            stream: eventsourcing::StreamId::new("account", foreign_messages),
            expected: ExpectedVersion::Any,
            events: (0..20).map(|_| event()).collect(),
        };
        let request = Append { streams: vec![part], metadata: Metadata::default(), receipt: None };
        last = position(&process.store.append(request).await);
    }
    let carried: Vec<i64> = everything(&bus, last)
        .await
        .iter()
        .filter_map(|message| header(message.headers.as_ref()?, "Tributary-Position").parse().ok())
        .collect();
    assert!(carried.iter().copied().eq(1..=last.0), "{carried:?}");
}

#[tokio::test]
async fn a_restored_log_replaces_the_stream() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let process = log.open();
    let relay = process.relay(&bus);
    reaches(relay.position(), process.append(20).await).await;
    process.stop().await;
    // From a backup taken at position 15; other events follow.
    restore(&log, 15).await;
    let process = log.open();
    let last = process.append(10).await;
    let relay = process.relay(&bus);
    reaches(relay.position(), last).await;
    let messages = everything(&bus, last).await;
    let events = log.verified().await;
    assert_eq!(messages.len(), events.len());
    for (message, event) in messages.iter().zip(&events) {
        assert_eq!(header(message.headers.as_ref().unwrap(), "ce-id"), event.id.to_string());
    }
}

/// Truncates the log to `position` and starts a new epoch, as restoring a backup does.
pub(crate) async fn restore(log: &Log, position: i64) {
    let sql = format!(
        "begin;
         delete from log.event where position > {position};
         update log.head set position = {position}, epoch = epoch + 1,
           hash = (select hash from log.event where position = {position});
         commit"
    );
    let mut connection = log.connect().await;
    sqlx::raw_sql(&sql).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_limited_stream_still_names_the_previous_event() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let options = BusOptions { max_bytes: Some(20_000), ..BusOptions::default() };
    let bus = Bus::open(&nats.url().as_str().into(), options).await.unwrap();
    let process = log.open();
    position(&process.store.append(fact(stream("1"))).await);
    for _ in 0..100 {
        let request = Append::to(
            eventsourcing::StreamId::new("note", 1),
            ExpectedVersion::Any,
            vec![event()],
        );
        position(&process.store.append(request).await);
    }
    let relay = process.relay(&bus);
    reaches(relay.position(), Position(101)).await;
    process.stop().await;

    let process: Process = log.open();
    let relay = process.relay(&bus);
    let last = position(&process.store.append(fact(stream("1"))).await);
    reaches(relay.position(), last).await;
    let message = stream_of(&bus).await.get_last_raw_message_by_subject("events.>").await.unwrap();
    assert_eq!(header(&message.headers, "Tributary-Position"), last.to_string());
    assert_eq!(header(&message.headers, "Tributary-Previous"), "1");
    let state = stream_of(&bus).await.get_info().await.unwrap().state;
    assert!(state.messages < 100, "the stream has dropped messages");
}
