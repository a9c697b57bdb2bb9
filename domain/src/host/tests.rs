//! Specifications of host samples: validation and identity.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{HostName, InvalidHostName, InvalidSample, Sample, stream};
use crate::TimeWindow;
use eventsourcing::event::{decode, encode};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn payload() -> Value {
    json!({
        "time": "2023-11-14T22:13:20.123456Z", "users": 5,
        "storage": {"total_bytes": 100, "used_bytes": 30, "free_bytes": 60},
        "memory": {"total_bytes": 10, "used_bytes": 4},
        "load": [0.5, 0.25, 0],
    })
}

/// Returns the payload with the members of `change` replaced.
fn changed(change: Value) -> Value {
    let mut payload = payload();
    payload.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    payload
}

fn read(name: &str, payload: &Value) -> Result<(Uuid, Sample), InvalidSample> {
    Sample::from_message(&TimeWindow::DEFAULT, &host(name), payload.to_string().as_bytes(), now())
}

#[test]
fn a_sample_holds_the_values_of_its_message() {
    let (_, sample) = read("web-1", &payload()).unwrap();
    assert_eq!((sample.host.as_str(), sample.users), ("web-1", 5));
    assert_eq!((sample.storage.used_bytes, sample.memory.used_bytes), (30, 4));
    assert_eq!(json!(sample.load), json!([0.5, 0.25, 0.0]));
    assert_eq!(stream(&sample.host).as_str(), "host-web-1");
}

#[test]
fn a_sample_is_unchanged_by_storage_and_transport() {
    let (id, sample) = read("web-1", &payload()).unwrap();
    let event = super::Event::HostSampled(sample.clone());
    let stored = encode(&event).unwrap();
    assert_eq!(event, decode(&stored.event_type, stored.schema_version, &stored.data).unwrap());
    // The agent sends a serialized sample.
    let sent = serde_json::to_vec(&sample).unwrap();
    assert_eq!(
        Sample::from_message(&TimeWindow::DEFAULT, &sample.host, &sent, now()).unwrap(),
        (id, sample)
    );
}

#[test]
fn the_same_host_at_the_same_moment_is_the_same_sample() {
    let id = |name: &str, change| read(name, &changed(change)).unwrap().0;
    let first = id("a", json!({}));
    assert_eq!(first, id("a", json!({})));
    let later = now() + TimeDelta::hours(1);
    let again = Sample::from_message(
        &TimeWindow::DEFAULT,
        &host("a"),
        payload().to_string().as_bytes(),
        later,
    );
    assert_eq!(first, again.unwrap().0, "the time of receipt is not part of the id");
    assert_eq!(first, id("a", json!({"time": "2023-11-14T23:13:20.123456789+01:00"})));
    assert_ne!(first, id("b", json!({})));
    assert_ne!(first, id("a", json!({"time": "2023-11-14T22:13:20.123457Z"})));
}

#[test]
fn unknown_members_are_ignored() {
    assert_eq!(
        read("a", &changed(json!({"gpu": {"total": 1}, "host": "a"}))).unwrap(),
        read("a", &payload()).unwrap()
    );
}

#[test]
fn an_invalid_sample_is_refused_with_the_reason() {
    for (change, reason) in [
        (json!({"host": "b"}), "another host"),
        (json!({"host": "b/c"}), "1 to 64 letters"),
        (json!({"time": "2023-11-16T22:13:20Z"}), "more than 1d ahead"),
        (json!({"time": "2009-12-31T23:59:59Z"}), "before 2010-01-01"),
        (json!({"time": "yesterday"}), "not a host sample"),
        (json!({"time": null}), "not a host sample"),
        (json!({"users": -1}), "not a host sample"),
        (json!({"users": 4_294_967_296_u64}), "not a host sample"),
        (json!({"load": [0, 0]}), "not a host sample"),
        (json!({"load": [0, 0, -0.1]}), "`load`"),
        (json!({"memory": {"total_bytes": 1, "used_bytes": 2}}), "`memory`: used"),
        (json!({"memory": {"total_bytes": 1}}), "used_bytes"),
        (json!({"memory": {"total_bytes": u64::MAX, "used_bytes": 2}}), "at most 92233720"),
        (json!({"storage": {"total_bytes": 1, "used_bytes": 1, "free_bytes": 1}}), "`storage`"),
        (
            json!({"storage": {"total_bytes": 1, "used_bytes": u64::MAX, "free_bytes": u64::MAX}}),
            "`storage`",
        ),
    ] {
        let error = read("a", &changed(change.clone())).unwrap_err().to_string();
        assert!(error.contains(reason), "{change}: {error}");
    }
    for payload in ["", "nonsense", "[]", "7", r#"{"users": 1}"#] {
        let error =
            Sample::from_message(&TimeWindow::DEFAULT, &host("a"), payload.as_bytes(), now())
                .unwrap_err();
        assert!(matches!(error, InvalidSample::NotASample(_)), "{payload}: {error}");
    }
}

#[test]
fn a_host_name_is_safe_in_topics_and_streams() {
    for name in ["a", "web-1.example.org", "WEB_1", &"x".repeat(64)] {
        assert_eq!(name.parse::<HostName>().unwrap().as_str(), name);
    }
    for name in ["", "a/b", "+", "#", "a b", "é", "a\0", "a~b", &"x".repeat(65)] {
        assert_eq!(name.parse::<HostName>(), Err(InvalidHostName), "{name}");
    }
}
