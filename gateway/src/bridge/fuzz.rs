//! Whatever a broker delivers becomes an event that every reader can decode, or a rejection that can
//! be recorded.

use std::sync::LazyLock;

use chrono::DateTime;
use domain::alerts;
use domain::telemetry::READING_RECORDED;
use eventsourcing::StreamId;
use eventsourcing::json::holds_nul;
use eventstore::Append;
use proptest::prelude::*;
use uuid::Uuid;

use super::decoder::{Action, Decoder};
use super::mapping::Mappings;
use super::message::Message;
use super::subscriptions::narrows;
use super::topics::Topic;
use crate::fuzz::{
    FILTERS, FOREIGN, FOREIGN_TOPICS, READINGS, RULES, SAMPLES, STATUSES, TOPICS, inputs, texts,
};

fn decoder() -> &'static Decoder {
    static DECODER: LazyLock<Decoder> = LazyLock::new(|| {
        let mappings = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus/mappings.json");
        Decoder { mappings: Mappings::load(mappings).unwrap(), ..Decoder::default() }
    });
    &DECODER
}

/// Checks what a message becomes.
fn check(topic: &[u8], payload: &[u8]) {
    let received_at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let message = Message::new(topic, payload, payload.len(), received_at);
    match decoder().decode(&message) {
        Ok(Action::Record { append, .. }) => check_request(&append),
        Ok(Action::Ignore(_)) => {}
        Err(refused) => {
            let rejection = message.rejection(&refused, Uuid::nil()).unwrap();
            check_request(&rejection);
            let [part] = &rejection.streams[..] else { panic!("one stream") };
            assert!(!holds_nul(&part.events[0].encoded.data), "the rejection cannot be stored");
        }
    }
}

fn check_request(request: &Append) {
    for part in &request.streams {
        StreamId::parse(part.stream.as_str()).unwrap();
        for event in &part.events {
            // Encoding has decoded the event as its own context does.
            if &*event.encoded.event_type == READING_RECORDED {
                serde_json::from_str::<alerts::Reading>(&event.encoded.data).unwrap();
            }
        }
    }
}

proptest! {
    #[test]
    fn readings(payload in inputs(READINGS)) {
        check(b"users/u/devices/d/telemetry", &payload);
    }

    #[test]
    fn statuses(payload in inputs(STATUSES)) {
        check(b"users/u/devices/d/status", &payload);
    }

    #[test]
    fn rules(payload in inputs(RULES)) {
        check(b"users/u/config", &payload);
    }

    #[test]
    fn samples(payload in inputs(SAMPLES)) {
        check(b"hosts/web-1/metrics", &payload);
    }

    #[test]
    fn messages_of_other_formats(topic in inputs(TOPICS), payload in inputs(FOREIGN)) {
        for topic in FOREIGN_TOPICS.iter().map(|topic| topic.as_bytes()).chain([&*topic]) {
            check(topic, &payload);
        }
    }

    #[test]
    fn topics(topic in inputs(TOPICS), payload in inputs(READINGS)) {
        check(&topic, &payload);
    }

    #[test]
    fn a_filter_that_narrows_matches_known_topics_only(filter in texts(FILTERS)) {
        if narrows(&filter, &Mappings::default()) {
            let topic = filter.replace('+', "x");
            prop_assert!(
                !matches!(Topic::parse(&topic), Err(super::topics::InvalidTopic::Unknown)),
                "{}", topic
            );
        }
    }
}

/// The name of an unknown member is quoted in the reason.
#[test]
fn a_rejection_that_quotes_a_nul_character_can_be_recorded() {
    check(b"users/u/config", br#"{"a\u0000b": 1}"#);
    check(b"users/u/config", br#"{"rules": [{"key": "x", "operator": "a\u0000b"}]}"#);
}
