//! What messages become.

use chrono::DateTime;
use domain::telemetry::MessageRejected;
use uuid::Uuid;

use super::super::message::Delivery;
use super::*;

const TELEMETRY: &str = "users/u/devices/d/telemetry";

const SAMPLE: &[u8] = br#"{"time": "2023-11-14T22:13:20Z", "users": 1, "load": [0, 0, 0],
    "storage": {"total_bytes": 3, "used_bytes": 1, "free_bytes": 1},
    "memory": {"total_bytes": 3, "used_bytes": 1}}"#;

fn message(topic: &str, payload: &[u8]) -> Message {
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    Message::new(topic.as_bytes(), payload, payload.len(), now)
}

fn request(message: &Message) -> Append {
    match Decoder::default().decode(message).unwrap() {
        Action::Record { append, .. } => append,
        Action::Ignore(ignored) => panic!("{ignored}"),
    }
}

fn refused(topic: &str, payload: &[u8]) -> String {
    Decoder::default().decode(&message(topic, payload)).unwrap_err().to_string()
}

#[test]
fn a_reading_goes_to_its_devices_stream_whatever_that_holds() {
    let request = request(&message(TELEMETRY, br#"{"sequence_id": 1, "temperature": 21.5}"#));
    let [part] = &request.streams[..] else { panic!("one stream") };
    assert_eq!(part.stream.as_str(), "device-u~d");
    assert_eq!(part.expected, ExpectedVersion::Any);
    assert_eq!(&*part.events[0].encoded.event_type, "reading_recorded");
}

#[test]
fn a_sample_goes_to_its_hosts_stream() {
    let request = request(&message("hosts/web-1/metrics", SAMPLE));
    let [part] = &request.streams[..] else { panic!("one stream") };
    assert_eq!(part.stream.as_str(), "host-web-1");
    assert_eq!(&*part.events[0].encoded.event_type, "host_sampled");
}

#[test]
fn a_redelivered_message_has_the_same_event_id() {
    for (topic, payload) in [
        (TELEMETRY, br#"{"sequence_id": 1}"#.as_slice()),
        ("users/u/devices/d/status", br#"{"online": true, "session_seq": 7}"#),
        ("users/u/config", br#"{"temperature_max": 80}"#),
        ("hosts/h/metrics", SAMPLE),
    ] {
        let delivery = Delivery { packet_id: 7, ..Delivery::default() };
        let first = message(topic, payload).delivered(delivery);
        let mut again = first.clone().delivered(Delivery { redelivered: true, ..delivery });
        again.received_at += chrono::TimeDelta::minutes(5);
        let id = |message: &Message| request(message).streams[0].events[0].id;
        assert_eq!(id(&first), id(&again), "{topic}");
        assert!(again.is_repeated() && !first.is_repeated());
    }
}

#[test]
fn rules_of_another_message_are_set_and_retained_ones_only_where_there_are_none() {
    let with = |payload: &[u8], delivery| {
        let request = request(&message("users/u/config", payload).delivered(delivery));
        (request.streams[0].events[0].id, request.streams[0].expected)
    };
    let packet = |packet_id| Delivery { packet_id, ..Delivery::default() };
    let (first, expected) = with(br#"{"rules": []}"#, packet(1));
    assert_eq!(expected, ExpectedVersion::Any);
    assert_ne!(
        first,
        with(br#"{"rules": []}"#, packet(2)).0,
        "a second message with the same rules"
    );
    assert_ne!(first, with(br#"{"rules": [] }"#, packet(1)).0);
    let retained = Delivery { retained: true, ..packet(1) };
    assert_eq!(with(br#"{"rules": []}"#, retained).1, ExpectedVersion::NoStream);
    // Ids are stored: this one must never change.
    assert_eq!(first.to_string(), "00000000-0001-89dc-82f7-b743aeb642d6");
}

#[test]
fn an_empty_payload_is_ignored_on_every_topic() {
    for topic in [TELEMETRY, "users/u/devices/d/status", "users/u/config", "hosts/h/metrics", "x/y"]
    {
        let decoded = Decoder::default().decode(&message(topic, b"")).unwrap();
        assert!(matches!(decoded, Action::Ignore(Ignored::Empty)), "{topic}");
    }
}

#[test]
fn a_rejection_states_its_reason() {
    assert!(refused("users/u/settings", b"{}").contains("unknown topic"));
    let faulty = refused("users/u/config", br#"{"rules": [{"key": "x", "operator": ">"}]}"#);
    assert!(faulty.contains("/rules/0/threshold"), "{faulty}");
    assert!(refused("users/a b/devices/d/telemetry", b"{}").contains("letters, digits"));
    assert!(refused(TELEMETRY, b"nonsense").contains("not a reading"));
    assert!(refused("users/u/devices/d/status", b"offline").contains("invalid device status"));
    assert!(refused("hosts/h/metrics", b"nonsense").contains("not a host sample"));
}

#[test]
fn an_oversized_payload_is_rejected_and_its_beginning_kept() {
    let message = message(TELEMETRY, &vec![b'x'; 2 * 1024 * 1024]);
    assert!(message.weight() < 16 * 1024, "only a prefix is kept");
    let reason = Decoder::default().decode(&message).unwrap_err();
    assert!(reason.to_string().contains("longer than 65536 bytes"));
    let rejection = message.rejection(&reason, Uuid::nil()).unwrap();
    assert_eq!(rejection.streams[0].stream.as_str(), "rejection-mqtt");
    let event: serde_json::Value =
        serde_json::from_str(&rejection.streams[0].events[0].encoded.data).unwrap();
    assert_eq!(event["size"], 2 * 1024 * 1024);
    assert_eq!(event["payload"].as_str().unwrap().len(), MessageRejected::MAX_PAYLOAD_BYTES);
}
