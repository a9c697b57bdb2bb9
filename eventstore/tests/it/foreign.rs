//! What other programs and other deployments do to the stream: foreign messages are skipped, streams
//! of others are refused, and an event that NATS does not store is reported until it is.

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, Info};
use devservers::{Nats, nats, testing};
use eventsourcing::Position;
use eventstore::{Append, Bus, BusOptions, ExpectedVersion, Relay, RelayReport, STREAM};
use uuid::Uuid;

use crate::relay::{everything, header, holds_everything};
use crate::world::{Log, event_with, position, reaches, start_nats, stream, within_deadline};

/// A log whose deployment differs from that of all other logs, which are copies of one.
async fn other_deployment() -> Log {
    let log = Log::new().await;
    let sql = "update log.deployment set id = gen_random_uuid()";
    sqlx::query(sql).execute(&mut log.connect().await).await.unwrap();
    log
}

async fn info(bus: &Bus) -> Info {
    bus.stream_info().await.unwrap().unwrap()
}

/// Waits until the relay reports what `expected` accepts. Returns the report.
async fn reports(relay: &Relay, expected: impl Fn(&RelayReport) -> bool) -> RelayReport {
    let mut watched = relay.report();
    let reported = watched.wait_for(|report| report.as_ref().is_some_and(&expected));
    within_deadline("the report", reported).await.unwrap().clone().unwrap()
}

fn carried(messages: &[async_nats::Message]) -> Vec<i64> {
    let position = |message: &async_nats::Message| {
        let headers = message.headers.as_ref()?;
        headers.get("Tributary-Deployment")?;
        header(headers, "Tributary-Position").parse().ok()
    };
    messages.iter().filter_map(position).collect()
}

#[tokio::test]
async fn a_forged_event_is_skipped_and_reported_and_the_stream_is_kept() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let mut last = process.append(10).await;
    // One forged message, and more than are read at once; while the relay runs, and while it does not.
    for forged in [1, 200] {
        reaches(relay.position(), last).await;
        for n in 0..forged {
            let mut headers = HeaderMap::new();
            headers.insert("Tributary-Position", (last.0 + 1 + n).to_string());
            headers.insert("ce-id", Uuid::now_v7().to_string());
            let subject = "events.accounts.account.1.happened";
            let sent = bus.jetstream().publish_with_headers(subject, headers, "{}".into()).await;
            sent.unwrap().await.unwrap();
        }
        last = process.append(10).await;
        reaches(relay.position(), last).await;
    }
    let counted = |warning: &String| warning.contains("skipped 201 messages");
    let report = reports(&relay, |report| report.warning.as_ref().is_some_and(counted)).await;
    assert_eq!(report.error, None);
    process.stop().await;
    let sent = bus.jetstream().publish("events.accounts.account.1.happened", "{}".into()).await;
    sent.unwrap().await.unwrap();
    let process = log.open();
    let relay = process.relay(&bus);
    last = process.append(10).await;
    reaches(relay.position(), last).await;

    let messages = everything(&bus, last).await;
    assert!(carried(&messages).into_iter().eq(1..=last.0));
    let state = info(&bus).await.state;
    assert_eq!((state.first_sequence, state.messages), (1, 40 + 202), "nothing was removed");
    for message in
        messages.iter().filter(|message| !carried(std::slice::from_ref(message)).is_empty())
    {
        // Contexts alternate: the previous event of the context is two positions before.
        let headers = message.headers.as_ref().unwrap();
        let number = |name| header(headers, name).parse::<i64>().unwrap();
        let expected = (number("Tributary-Position") - 2).max(0);
        assert_eq!(number("Tributary-Previous"), expected);
    }
}

#[tokio::test]
async fn a_copy_of_an_earlier_message_is_skipped_and_nothing_is_published_again() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let process = log.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let last = process.append(10).await;
    reaches(relay.position(), last).await;
    let stream = bus.jetstream().get_stream(STREAM).await.unwrap();
    let first = stream.get_raw_message(1).await.unwrap();
    let mut headers = HeaderMap::new();
    for name in ["Tributary-Deployment", "Tributary-Position", "ce-id"] {
        headers.insert(name, first.headers.get(name).unwrap().as_str());
    }
    let sent = bus.jetstream().publish_with_headers(first.subject, headers, first.payload).await;
    sent.unwrap().await.unwrap();
    let last = process.append(10).await;
    reaches(relay.position(), last).await;
    let carried = carried(&everything(&bus, last).await);
    assert!(carried.iter().copied().eq((1..=10).chain([1]).chain(11..=20)), "{carried:?}");
}

#[tokio::test]
async fn the_stream_of_another_deployment_is_refused_until_it_is_taken_over() {
    let nats = start_nats().await;
    let (first, second) = (Log::new().await, other_deployment().await);
    let process = first.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    let last = process.append(10).await;
    reaches(relay.position(), last).await;

    let other = second.open();
    other.append(20).await;
    let refused = other.relay(&Bus::connect(&nats.url()).await.unwrap());
    let report = reports(&refused, |report| report.error.is_some()).await;
    let owners = [process.store.owner().await.unwrap(), other.store.owner().await.unwrap()];
    for owner in owners {
        let error = report.error.as_ref().unwrap();
        assert!(error.contains(&owner.deployment.to_string()), "{error}");
    }
    assert_eq!(*refused.position().borrow(), Position::START);
    let last = process.append(10).await;
    reaches(relay.position(), last).await;
    holds_everything(&bus, last).await;

    let options = BusOptions { take_over: Some(owners[0].deployment), ..BusOptions::default() };
    let taking = other.relay(&Bus::open(&nats.url().as_str().into(), options).await.unwrap());
    reaches(taking.position(), Position(20)).await;
    holds_everything(&bus, Position(20)).await;
    // The first one notices, and does not publish any more.
    reports(&relay, |report| {
        let error = report.error.as_deref().unwrap_or_default();
        error.contains("belongs to") && error.contains(&owners[1].deployment.to_string())
    })
    .await;
    process.append(10).await;
    reaches(taking.position(), other.append(10).await).await;
    holds_everything(&bus, Position(30)).await;
}

#[tokio::test]
async fn an_older_copy_of_the_log_is_refused() {
    let nats = start_nats().await;
    let (newer, older) = (Log::new().await, Log::new().await);
    let sql = "update log.head set epoch = 2";
    sqlx::query(sql).execute(&mut newer.connect().await).await.unwrap();
    let process = newer.open();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let relay = process.relay(&bus);
    reaches(relay.position(), process.append(10).await).await;
    let other = older.open();
    other.append(20).await;
    let refused = other.relay(&bus);
    let report = reports(&refused, |report| report.error.is_some()).await;
    assert!(report.error.unwrap().contains("an older copy of the log"));
    holds_everything(&bus, Position(10)).await;
}

#[tokio::test]
async fn a_stream_without_an_owner_is_used_only_if_it_holds_the_log() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let config =
        Config { name: STREAM.into(), subjects: vec!["events.>".into()], ..Config::default() };
    bus.jetstream().create_stream(config).await.unwrap();
    let sent = bus.jetstream().publish("events.a.b.c.d", "{}".into()).await;
    sent.unwrap().await.unwrap();
    let process = log.open();
    let last = process.append(10).await;
    let relay = process.relay(&bus);
    let report = reports(&relay, |report| report.error.is_some()).await;
    assert!(report.error.unwrap().contains("names no owner"));
    assert_eq!(info(&bus).await.state.messages, 1);
    bus.jetstream().delete_stream(STREAM).await.unwrap();
    reaches(relay.position(), last).await;
    process.stop().await;

    // As an earlier version left it.
    let mut config = info(&bus).await.config;
    config.metadata.clear();
    config.description = None;
    bus.jetstream().update_stream(&config).await.unwrap();
    let process = log.open();
    let relay = process.relay(&bus);
    let last = process.append(10).await;
    reaches(relay.position(), last).await;
    holds_everything(&bus, last).await;
    assert!(info(&bus).await.config.description.unwrap().contains("tributary-deployment="));
}

/// A NATS with room for 4 MB, half of it taken, and a relay.
async fn nearly_full() -> (Nats, Bus) {
    let options = nats::Options { store_limit: Some(4_000_000), ..testing::nats_options() };
    let nats = Nats::start(&testing::directory("nats").unwrap(), options).await.unwrap();
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let filler =
        Config { name: "FILLER".into(), subjects: vec!["filler".into()], ..Config::default() };
    bus.jetstream().create_stream(filler).await.unwrap();
    for _ in 0..2 {
        let sent = bus.jetstream().publish("filler", vec![b'x'; 1_000_000].into()).await;
        sent.unwrap().await.unwrap();
    }
    (nats, bus)
}

#[tokio::test]
async fn a_full_store_is_reported_with_the_position_and_filled_once_there_is_room() {
    let (log, (_nats, bus)) = (Log::new().await, nearly_full().await);
    let process = log.open();
    let relay = process.relay(&bus);
    let mut last = Position::START;
    // 2.9 MB: more than is left, and less than the limit.
    for _ in 0..90 {
        // Random, because newer servers compress.
        let text: String = (0..1_000).map(|_| Uuid::now_v7().simple().to_string()).collect();
        let event = event_with(&format!(r#"{{"text": "{text}"}}"#));
        let request = Append::to(stream("1"), ExpectedVersion::Any, vec![event]);
        last = position(&process.store.append(request).await);
    }
    // The report and the position change one after the other.
    let position = relay.position();
    reports(&relay, |report| {
        let missing = (position.borrow().0 + 1).to_string();
        let error = report.error.as_deref().unwrap_or_default();
        error.split(|symbol: char| !symbol.is_ascii_digit()).any(|number| number == missing)
    })
    .await;
    assert!(*position.borrow() < last);
    bus.jetstream().delete_stream("FILLER").await.unwrap();
    reaches(relay.position(), last).await;
    reports(&relay, |report| report.error.is_none()).await;
}
