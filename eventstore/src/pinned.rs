//! Literal values of what stands in the log or on the bus and must survive every rename in the code:
//! names, headers, message ids, hashes. A value here never changes.

use eventsourcing::{Position, StreamId, Version};
use uuid::Uuid;

use crate::append::receipt;
use crate::bus::message::{PublishContext, encode};
use crate::bus::owner::Owner;
use crate::bus::replay::replay_message;
use crate::bus::subjects::{HEAD_SUBJECT, STREAM, SUBJECTS};
use crate::hash_chain::event_hash;
use crate::otel;
use crate::raw::RawEvent;

fn event(data: &str) -> RawEvent {
    RawEvent {
        position: Position(42),
        id: Uuid::from_u128(7),
        stream: StreamId::parse("thing-a b").unwrap(),
        version: Version(3),
        event_type: "thing_happened".into(),
        schema_version: 2,
        data: data.into(),
        metadata: r#"{"traceparent":"00-1-2-01"}"#.into(),
        recorded_at: chrono::DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
    }
}

/// Each header as `name: value`, sorted.
fn lines(headers: &async_nats::HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}: {value}")))
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn names_on_the_bus() {
    assert_eq!([STREAM, SUBJECTS, HEAD_SUBJECT], ["EVENTS", "events.>", "log.head"]);
    assert_eq!(otel::TARGET, "tributary::traced");
}

#[test]
fn a_published_message() {
    let context = || PublishContext {
        context: "things",
        previous: Position(41),
        owner: Owner { deployment: Uuid::from_u128(9), epoch: 5 },
        expected_last_sequence: 40,
        expected_last_id: Some(Uuid::from_u128(6)),
    };
    let whole = encode(event("{}"), &context(), 1 << 20);
    assert_eq!(whole.subject, "events.things.thing.a%20b.thing_happened");
    let common = [
        "Nats-Expected-Last-Msg-Id: 00000000-0000-0000-0000-000000000006",
        "Nats-Expected-Last-Sequence: 40",
        "Nats-Msg-Id: 00000000-0000-0000-0000-000000000007",
    ];
    let cloud_event = [
        "ce-id: 00000000-0000-0000-0000-000000000007",
        "ce-source: /tributary/things",
        "ce-specversion: 1.0",
        "ce-subject: thing-a%20b",
        "ce-time: 2023-11-14T22:13:20.000001Z",
    ];
    let own = [
        "Tributary-Deployment: 00000000-0000-0000-0000-000000000009",
        "Tributary-Epoch: 5",
        "Tributary-Position: 42",
        "Tributary-Previous: 41",
        "Tributary-Schema-Version: 2",
        "Tributary-Version: 3",
        "ce-type: thing_happened",
        "content-type: application/json",
    ];
    let pinned = |special: &[&'static str]| {
        let mut pinned = [&common[..], &cloud_event[..], &own[..], special].concat();
        pinned.sort_unstable();
        pinned
    };
    let special =
        [r#"Tributary-Metadata: {"traceparent":"00-1-2-01"}"#, "ce-traceparent: 00-1-2-01"];
    assert_eq!(lines(&whole.headers), pinned(&special));
    let omitted = encode(event(&"x".repeat(4096)), &context(), 4096);
    assert_eq!(lines(&omitted.headers), pinned(&["Tributary-Body: omitted"]));
}

#[test]
fn a_replayed_message() {
    let replayed =
        replay_message(event("{}"), "things", "again", "run-1", Uuid::from_u128(9), 1 << 20);
    assert_eq!(replayed.subject, "again.things.thing.a%20b.thing_happened");
    assert_eq!(
        lines(&replayed.headers),
        [
            "Nats-Msg-Id: run-1-42",
            "Tributary-Deployment: 00000000-0000-0000-0000-000000000009",
            r#"Tributary-Metadata: {"traceparent":"00-1-2-01"}"#,
            "Tributary-Position: 42",
            "Tributary-Replay: run-1",
            "Tributary-Schema-Version: 2",
            "Tributary-Version: 3",
            "ce-id: 00000000-0000-0000-0000-000000000007",
            "ce-source: /tributary/things",
            "ce-specversion: 1.0",
            "ce-subject: thing-a%20b",
            "ce-time: 2023-11-14T22:13:20.000001Z",
            "ce-traceparent: 00-1-2-01",
            "ce-type: thing_happened",
            "content-type: application/json",
        ]
    );
}

#[test]
fn hashes_of_the_chain_and_of_requests() {
    let first = event_hash(&[], &event("{}"));
    assert_eq!(
        hex::encode(&first),
        "28631b5848585998d5656cd95ff782a9a4bb25924e4675a384eec604a6f26b99"
    );
    assert_eq!(
        hex::encode(event_hash(&first, &event("{}"))),
        "4e8e7b392038729346927f00563cd70bef2100649b64a4cca34922f1c660bfa4"
    );
    let receipt = receipt::NewReceipt::new("key".into(), b"request", Box::default());
    assert_eq!(
        hex::encode(receipt.fingerprint),
        "1f58b9145b24d108d7ac38887338b3ea3229833b9c1e418250343f907bfd1047"
    );
}
