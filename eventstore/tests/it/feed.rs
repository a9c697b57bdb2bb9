//! The feed and its subscriptions deliver every event of the log once and in order, whatever the bus
//! carries.

use async_nats::jetstream::stream::Stream;
use devservers::Nats;
use eventsourcing::{Position, StreamId};
use eventstore::{Append, Bus, ExpectedVersion, Feed, Filter, RING_BYTES, STREAM, announcer};
use uuid::Uuid;

use crate::relay::restore;
use crate::world::{
    Log, Process, collect, event_with, fact, position, reaches, start_nats, stream, within_deadline,
};

/// A relay and a writer in one process, a feed in another, as in a deployment.
struct Scene {
    log: Log,
    nats: Nats,
    writer: Process,
    reader: Process,
    feed: Feed,
    bus: Bus,
}

async fn scene() -> Scene {
    let (log, nats) = (Log::new().await, start_nats().await);
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let (writer, reader) = (log.open(), log.open());
    let relay = writer.relay(&bus);
    announcer(&writer.store, bus.clone(), &writer.tasks, writer.shutdown.clone());
    reaches(relay.position(), writer.append(20).await).await;
    let readers_bus = Bus::connect(&nats.url()).await.unwrap();
    let feed = reader.feed(Some(&readers_bus));
    reaches(feed.head(), Position(20)).await;
    Scene { log, nats, writer, reader, feed, bus }
}

async fn stream_of(bus: &Bus) -> Stream {
    bus.jetstream().get_stream(STREAM).await.unwrap()
}

#[tokio::test]
async fn without_a_bus_the_feed_reads_the_log() {
    let log = Log::new().await;
    let (here, there) = (log.open(), log.open());
    let before = there.append(10).await;
    let feed = here.feed(None);
    reaches(feed.head(), before).await;
    let mut subscription = feed.subscribe(Position(3), Filter::default());
    here.append(10).await;
    let last = there.append(10).await;
    assert!(collect(&mut subscription, last).await.into_iter().eq(4..=last.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn subscriptions_deliver_each_event_once_while_nats_fails() {
    let mut scene = scene().await;
    let writer = scene.log.open();
    let appending = tokio::spawn(async move { writer.append(3000).await });
    let mut subscriptions = Vec::new();
    for start in 1..=6 {
        // Subscriptions from the beginning, from the middle and from the head.
        reaches(scene.feed.head(), Position(start * 300)).await;
        for after in [0, start * 100, start * 300] {
            let after = Position(after);
            subscriptions.push((after, scene.feed.subscribe(after, Filter::default())));
        }
        match start {
            2 | 4 => scene.nats.kill().await,
            3 => scene.nats.restart().await.unwrap(),
            5 => scene.nats.wipe_jetstream().await.unwrap(),
            _ => {}
        }
    }
    let last = appending.await.unwrap();
    for (after, subscription) in &mut subscriptions {
        let delivered = collect(subscription, last).await;
        assert!(delivered.into_iter().eq(after.0 + 1..=last.0), "after {after}");
    }
}

#[tokio::test]
async fn subscriptions_continue_without_nats() {
    let mut scene = scene().await;
    let mut subscription = scene.feed.subscribe(Position(20), Filter::default());
    scene.nats.kill().await;
    let last = scene.writer.append(30).await;
    assert!(collect(&mut subscription, last).await.into_iter().eq(21..=last.0));
    scene.nats.wipe_jetstream().await.unwrap();
    let more = scene.writer.append(30).await;
    assert!(collect(&mut subscription, more).await.into_iter().eq(last.0 + 1..=more.0));
}

#[tokio::test]
async fn subscriptions_continue_without_a_relay() {
    let Scene { log, nats: _nats, writer, reader: _reader, feed, bus: _bus } = scene().await;
    writer.stop().await;
    let writer = log.open();
    let mut subscription = feed.subscribe(Position(20), Filter::default());
    let last = writer.append(30).await;
    assert!(collect(&mut subscription, last).await.into_iter().eq(21..=last.0));
}

/// Any program with access can publish a message that looks like the next event of the log.
#[tokio::test]
async fn an_event_that_only_the_bus_holds_is_not_delivered() {
    let scene = scene().await;
    let mut subscription = scene.feed.subscribe(Position(20), Filter::default());
    let forged = Uuid::from_u128(1);
    let headers: async_nats::HeaderMap = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", &forged.to_string()),
        ("ce-type", "happened"),
        ("ce-source", "/tributary/accounts"),
        ("ce-subject", "account-forged"),
        ("ce-time", "2026-01-01T00:00:00.000000Z"),
        ("Tributary-Position", "21"),
        ("Tributary-Previous", "19"),
        ("Tributary-Version", "1"),
        ("Tributary-Epoch", "1"),
        ("Tributary-Schema-Version", "1"),
        ("Tributary-Metadata", "{}"),
    ]
    .into_iter()
    .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
    .collect();
    let subject = "events.accounts.account.forged.happened";
    let sent = scene.bus.jetstream().publish_with_headers(subject, headers, "{}".into()).await;
    sent.unwrap().await.unwrap();
    scene.bus.announce(Position(21)).await.unwrap();
    // The next event of the log has this position, and is the one that is delivered.
    let last = scene.writer.append(5).await;
    let mut delivered = Vec::new();
    while subscription.position() < last {
        delivered.extend(within_deadline("a batch", subscription.next(10)).await.unwrap().events);
    }
    let log = scene.log.verified().await;
    assert!(delivered.iter().map(|event| &**event).eq(&log[20..]), "{delivered:?}");
    assert!(delivered.iter().all(|event| event.id != forged));
}

#[tokio::test]
async fn an_event_too_large_for_a_message_arrives_whole() {
    let scene = scene().await;
    let mut subscription = scene.feed.subscribe(Position(20), Filter::default());
    let text = "x".repeat(3_000_000);
    let large = event_with(&format!(r#"{{"text": "{text}"}}"#));
    for events in [vec![event_with("1")], vec![large.clone()], vec![event_with("3")]] {
        let request = Append::to(stream("large"), ExpectedVersion::Any, events);
        position(&scene.writer.store.append(request).await);
    }
    let mut delivered = Vec::new();
    while subscription.position() < Position(23) {
        delivered.extend(within_deadline("a batch", subscription.next(10)).await.unwrap().events);
    }
    let data: Vec<&str> = delivered.iter().map(|event| &*event.data).collect();
    assert_eq!(data, ["1", &*large.encoded.data, "3"]);
    let carried = within_deadline("the message", async {
        loop {
            if let Ok(message) = stream_of(&scene.bus).await.get_raw_message(22).await {
                return message;
            }
        }
    });
    let headers = carried.await.headers;
    assert_eq!(headers.get("Tributary-Body").unwrap().as_str(), "omitted");
}

#[tokio::test]
async fn a_filtered_subscription_advances_over_other_events() {
    let scene = scene().await;
    for feed in [scene.feed.clone(), scene.reader.feed(None)] {
        reaches(feed.head(), Position(20)).await;
        let head = scene.reader.store.head().await.unwrap();
        let filter = Filter::categories(&["note"]);
        let mut live = feed.subscribe(head, filter.clone());
        let foreign = scene.writer.store.append(fact(stream("1"))).await;
        let batch = within_deadline("a batch", live.next(10)).await.unwrap();
        assert_eq!((batch.events.len(), batch.through), (0, position(&foreign)));
        let wanted = scene.writer.store.append(fact(StreamId::new("note", 1))).await;
        let batch = within_deadline("a batch", live.next(10)).await.unwrap();
        assert_eq!((batch.events.len(), batch.through), (1, position(&wanted)));

        let mut behind = feed.subscribe(Position::START, filter);
        let delivered = collect(&mut behind, position(&wanted)).await;
        let log = scene.log.verified().await;
        let notes = log.iter().filter(|event| event.stream.category() == "note");
        assert!(notes.map(|event| event.position.0).eq(delivered));
    }
}

#[tokio::test]
async fn a_batch_has_at_most_the_requested_events() {
    let log = Log::new().await;
    let process = log.open();
    let feed = process.feed(None);
    let last = process.append(25).await;
    reaches(feed.head(), last).await;
    let mut subscription = feed.subscribe(Position::START, Filter::default());
    for through in [10, 20, 25] {
        let batch = within_deadline("a batch", subscription.next(10)).await.unwrap();
        assert_eq!(batch.through, Position(through));
        assert_eq!(subscription.position(), Position(through));
    }
    // There is nothing more. A cancelled wait loses nothing.
    for _ in 0..3 {
        assert!(futures::poll!(Box::pin(subscription.next(10))).is_pending());
    }
    let next = process.append(1).await;
    assert_eq!(within_deadline("a batch", subscription.next(10)).await.unwrap().through, next);
}

#[tokio::test]
async fn events_that_left_the_ring_buffer_are_read_from_the_log() {
    let log = Log::new().await;
    let process = log.open();
    let feed = process.feed(None);
    let mut slow = feed.subscribe(Position::START, Filter::default());
    let text = format!(r#"{{"text": "{}"}}"#, "x".repeat(1_000_000));
    let events = i64::try_from(RING_BYTES / 1_000_000 + 8).unwrap();
    for _ in 0..events {
        let request = Append::to(stream("1"), ExpectedVersion::Any, vec![event_with(&text)]);
        position(&process.store.append(request).await);
    }
    reaches(feed.head(), Position(events)).await;
    assert!(collect(&mut slow, Position(events)).await.into_iter().eq(1..=events));
}

#[tokio::test]
async fn a_restored_log_is_followed_from_its_head() {
    let scene = scene().await;
    reaches(scene.feed.head(), scene.writer.append(20).await).await;
    restore(&scene.log, 30).await;
    let mut head = scene.feed.head();
    let lower = head.wait_for(|head| *head == Position(30));
    within_deadline("the feed starts again", lower).await.unwrap();
    let mut subscription = scene.feed.subscribe(Position(30), Filter::default());
    let last = scene.writer.append(20).await;
    assert_eq!(last, Position(50));
    assert!(collect(&mut subscription, last).await.into_iter().eq(31..=50));
    let events = scene.log.verified().await;
    let id = events[49].id.to_string();
    within_deadline("the relay publishes it", async {
        loop {
            let stream = stream_of(&scene.bus).await;
            if let Ok(message) = stream.get_last_raw_message_by_subject("events.>").await
                && message.headers.get("ce-id").unwrap().as_str() == id
            {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn one_stream_can_be_followed() {
    let log = Log::new().await;
    let process = log.open();
    let last = process.append(40).await;
    let log = log.verified().await;
    let filter = Filter { stream: Some(log[8].stream.clone()), ..Filter::default() };
    let wanted = log.iter().filter(|event| event.stream == log[8].stream);
    let wanted: Vec<i64> = wanted.map(|event| event.position.0).collect();
    assert!(wanted.len() > 2);
    let feed = process.feed(None);
    let mut subscription = feed.subscribe(Position::START, filter.clone());
    assert_eq!(collect(&mut subscription, last).await, wanted);
    let first = process.store.read(Position::START, last, &filter, 1).await.unwrap();
    assert_eq!(first.through, Position(wanted[0]));
    let rest = process.store.read(first.through, last, &filter, 100).await.unwrap();
    assert_eq!((rest.events.len(), rest.through), (wanted.len() - 1, last));
}

#[tokio::test]
async fn a_false_announcement_has_no_effect() {
    let scene = scene().await;
    let mut heads = scene.bus.heads().await.unwrap();
    scene.bus.announce(Position(1_000_000_000)).await.unwrap();
    let announced = within_deadline("the announcement", heads.next()).await;
    assert_eq!(announced, Some(Position(1_000_000_000)));
    let mut subscription = scene.feed.subscribe(Position(20), Filter::default());
    let last = scene.writer.append(30).await;
    assert!(collect(&mut subscription, last).await.into_iter().eq(21..=last.0));
    assert_eq!(*scene.feed.head().borrow(), last);
    // The writer's own announcements are received, too.
    while within_deadline("an announcement", heads.next()).await != Some(last) {}
}

#[tokio::test]
async fn a_filtered_subscription_reports_progress_at_intervals() {
    let log = Log::new().await;
    let process = log.open();
    let feed = process.feed(None);
    let mut subscription = feed.subscribe(Position::START, Filter::categories(&["elsewhere"]));
    let begun = tokio::time::Instant::now();
    let (mut batches, mut last) = (0_u32, Position::START);
    for _ in 0..200 {
        last = process.append(1).await;
        reaches(feed.head(), last).await;
        tokio::select! {
            biased;
            batch = subscription.next(10) => {
                assert!(batch.unwrap().events.is_empty());
                batches += 1;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    while subscription.position() < last {
        assert!(subscription.next(10).await.unwrap().events.is_empty());
        batches += 1;
    }
    let most = 3 + u32::try_from(begun.elapsed().as_millis()).unwrap() / 100;
    assert!((1..=most).contains(&batches), "{batches} batches, at most {most}");
}
