//! The relay: every event in the stream once and in order, whatever happens to the stream.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use eventsourcing::{Metadata, Position};
use eventstore::{Append, Bus, BusOptions, ExpectedVersion, STREAM, StreamAppend};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::servers::Nats;
use crate::world::{Log, Process, event, event_with, fact, position, reaches, soon, stream};

async fn stream_of(bus: &Bus) -> Stream {
    soon("the stream", async {
        loop {
            if let Ok(stream) = bus.jetstream().get_stream(STREAM).await {
                return stream;
            }
        }
    })
    .await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.as_str())
}

/// The messages a consumer from the beginning gets, until the one that carries `last`.
async fn everything(bus: &Bus, last: Position) -> Vec<async_nats::Message> {
    let stream = stream_of(bus).await;
    let consumer = stream.create_consumer(pull::OrderedConfig {
        deliver_policy: DeliverPolicy::All,
        ..pull::OrderedConfig::default()
    });
    let mut delivered = consumer.await.unwrap().messages().await.unwrap();
    let mut messages = Vec::new();
    loop {
        let message = soon("a message", delivered.next()).await.unwrap().unwrap().message;
        let carried = message.headers.as_ref();
        let end = carried
            .is_some_and(|headers| header(headers, "Tributary-Position") == last.to_string());
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

/// The stream holds the whole log, each event once and in order, and nothing else.
async fn holds_everything(bus: &Bus, last: Position) {
    let messages = everything(bus, last).await;
    assert!(positions(&messages).into_iter().eq(1..=last.0), "{:?}", positions(&messages));
    let state = stream_of(bus).await.get_info().await.unwrap().state;
    assert_eq!(state.messages, u64::try_from(last.0).unwrap());
}

#[tokio::test]
async fn a_message_says_all_there_is_to_say() {
    let (log, nats) = (Log::new().await, Nats::start().await);
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
async fn the_stream_is_configured_as_asked() {
    let nats = Nats::start().await;
    let options = BusOptions {
        max_bytes: Some(10_000_000),
        max_age: Some(Duration::from_hours(1)),
        ..BusOptions::default()
    };
    let limited = Bus::open(&nats.url(), options).await.unwrap();
    let config = limited.ensure_stream().await.unwrap().config;
    assert_eq!((config.max_bytes, config.max_age), (10_000_000, Duration::from_hours(1)));
    // Who asks for nothing changes nothing; who asks for something else gets it.
    let plain = Bus::connect(&nats.url()).await.unwrap();
    assert_eq!(plain.ensure_stream().await.unwrap().config.max_bytes, 10_000_000);
    let options = BusOptions { max_bytes: Some(20_000_000), ..BusOptions::default() };
    let larger = Bus::open(&nats.url(), options).await.unwrap();
    assert_eq!(larger.ensure_stream().await.unwrap().config.max_bytes, 20_000_000);
}

#[tokio::test]
async fn a_relay_goes_on_where_the_last_one_stopped() {
    let (log, nats) = (Log::new().await, Nats::start().await);
    let writer = log.open();
    for round in 1..=5 {
        let process = log.open();
        let bus = Bus::connect(&nats.url()).await.unwrap();
        let relay = process.relay(&bus);
        let last = writer.append(100).await;
        // Stopped in the middle, or near the end.
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
    // Two contexts take turns, so each event's previous one is two positions before it.
    for message in &messages[2..] {
        let headers = message.headers.as_ref().unwrap();
        let number = |name| header(headers, name).parse::<i64>().unwrap();
        assert_eq!(number("Tributary-Previous"), number("Tributary-Position") - 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_relays_one_works() {
    let (log, nats) = (Log::new().await, Nats::start().await);
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
    // One after the other goes; what is left takes over.
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

/// Appends until it is told to stop; says how far it came.
fn keep_appending(log: &Log) -> (CancellationToken, tokio::task::JoinHandle<Position>) {
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
async fn nats_comes_and_goes() {
    let (log, mut nats) = (Log::new().await, Nats::start().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let (stop, appending) = keep_appending(&log);
    for round in 1..=3 {
        reaches(relay.position(), Position(round * 200)).await;
        nats.kill();
        let head = process.store.head().await.unwrap();
        soon("appends go on", async {
            while process.store.head().await.unwrap().0 < head.0 + 50 {}
        })
        .await;
        nats.resume().await;
    }
    stop.cancel();
    let last = appending.await.unwrap();
    reaches(relay.position(), last).await;
    holds_everything(&bus, last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_relay_waits_for_nats_to_appear() {
    let (log, mut nats) = (Log::new().await, Nats::start().await);
    nats.kill();
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let last = process.append(10).await;
    nats.resume_empty().await;
    reaches(relay.position(), last).await;
    holds_everything(&bus, last).await;
}

/// Lets a relay work, has something done to the stream, idle and under load, and expects the whole
/// log in it again.
async fn refilled_after<F, Fut>(disaster: F)
where
    F: Fn(Nats, Bus) -> Fut,
    Fut: Future<Output = Nats>,
{
    let (log, mut nats) = (Log::new().await, Nats::start().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let last = process.append(300).await;
    reaches(relay.position(), last).await;
    nats = disaster(nats, bus.clone()).await;
    soon("the relay notices", whole(&bus, last)).await;
    holds_everything(&bus, last).await;

    let (stop, appending) = keep_appending(&log);
    reaches(relay.position(), Position(last.0 + 100)).await;
    nats = disaster(nats, bus.clone()).await;
    let head = process.store.head().await.unwrap();
    reaches(relay.position(), Position(head.0 + 100)).await;
    stop.cancel();
    let last = appending.await.unwrap();
    soon("the relay notices", whole(&bus, last)).await;
    holds_everything(&bus, last).await;
    drop(nats);
}

/// Waits until the stream has as many messages as the log has events.
async fn whole(bus: &Bus, last: Position) {
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
    refilled_after(|mut nats, _bus| async move {
        nats.kill();
        nats.resume_empty().await;
        nats
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_purged_stream_is_refilled() {
    refilled_after(|nats, bus| async move {
        stream_of(&bus).await.purge().await.unwrap();
        nats
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_stream_is_made_again() {
    refilled_after(|nats, bus| async move {
        bus.jetstream().delete_stream(STREAM).await.unwrap();
        nats
    })
    .await;
}

#[tokio::test]
async fn messages_of_others_are_passed_over() {
    let (log, nats) = (Log::new().await, Nats::start().await);
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

/// Their messages take the places of ours: none that follows may slip into one that fits it.
#[tokio::test]
async fn messages_of_others_let_none_of_ours_overtake() {
    let (log, nats) = (Log::new().await, Nats::start().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let mut last = process.append(10).await;
    for strangers in [1, 3, 7] {
        reaches(relay.position(), last).await;
        for _ in 0..strangers {
            let foreign = bus.jetstream().publish("events.foreign.a.b.c", "{}".into()).await;
            foreign.unwrap().await.unwrap();
        }
        // Committed together, and so under way together.
        let part = StreamAppend {
            stream: eventsourcing::StreamId::new("account", strangers),
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
    let (log, nats) = (Log::new().await, Nats::start().await);
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let process = log.open();
    let relay = process.relay(&bus);
    reaches(relay.position(), process.append(20).await).await;
    process.stop().await;
    // From a backup taken at position 15; then others happened.
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

/// Brings the log back to what it was at `position`, as a backup would.
pub(crate) async fn restore(log: &Log, position: i64) {
    let sql = format!(
        "begin;
         delete from log.event where position > {position};
         update log.head set position = {position},
           hash = (select hash from log.event where position = {position});
         commit"
    );
    let mut connection = log.connect().await;
    sqlx::raw_sql(&sql).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_limited_stream_still_names_the_previous_event() {
    let (log, nats) = (Log::new().await, Nats::start().await);
    let options = BusOptions { max_bytes: Some(20_000), ..BusOptions::default() };
    let bus = Bus::open(&nats.url(), options).await.unwrap();
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
    assert!(state.messages < 100, "the stream has forgotten");
}
