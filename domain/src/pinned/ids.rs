//! Ids that are derived from what they name, and the state of a watch, which holds some of them.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{assert_pinned, at};
use crate::alerts::{Cause, Config, EffectiveRule, Outcome, Scope, Watch};
use crate::telemetry::presence::{Decision, Presence};
use crate::telemetry::{Connection, DeviceId, DeviceRef, Limits, Reading, UserId};
use crate::{TimeWindow, host};
use eventsourcing::Position;

fn cause(position: i64) -> Cause {
    let id = Uuid::from_u128(u128::try_from(position).unwrap());
    Cause { position: Position(position), id, recorded_at: at(1_000) }
}

fn rules(json: &Value) -> Config {
    Config::parse(json.to_string().as_bytes()).unwrap()
}

fn effective_rules(scope: Scope, config: &Config) -> Vec<EffectiveRule> {
    EffectiveRule::select(&[(scope, 1, config)], "d")
}

#[test]
fn rule_ids() {
    let minimal = rules(&json!({"temperature_max": 80.5, "rules": [
        {"key": "battery", "operator": "<", "threshold": 20, "message": "Low", "severity": "major"},
        {"key": "state", "operator": "==", "threshold": "OFF"},
        {"key": "open", "operator": "!=", "threshold": true},
        {"key": "rpm", "operator": "outside", "threshold": [1, 2.5]},
        {"key": "/engine/rpm", "operator": "is_missing"}]}));
    let whole = rules(&json!({"rules": [{"key": "battery", "operator": "<=", "threshold": 20,
        "message": "Low", "severity": "critical", "for": "5m", "times": 3, "clear_threshold": 25,
        "clear_times": 2, "device_id": "d*"}]}));
    let user = || Scope::User("u".into());
    let selected = [effective_rules(user(), &minimal), effective_rules(user(), &whole)].concat();
    let everybody = effective_rules(Scope::Everybody, &whole);
    let ids = selected.iter().chain(&everybody).map(|rule| rule.id.to_string());
    assert_pinned(ids.zip([
        "00000000-0000-8cb0-b95e-7720bc393230",
        "00000000-0000-84a4-8bdb-a6dd4e5a9a4c",
        "00000000-0000-8fbe-b576-832594469a6b",
        "00000000-0000-8420-b042-2aea2edc3a76",
        "00000000-0000-80ca-aff5-03b467942f61",
        "00000000-0000-84a7-8ac4-2f4b720ee650",
        "00000000-0000-8bda-8719-b0875867fd95",
        "00000000-0000-8751-aa70-62bd39ded0a0",
    ]));
    assert_eq!(selected.len() + everybody.len(), 8);
}

/// A device's readings, and a change of rules at the end.
fn watched() -> (Vec<String>, Vec<Outcome>) {
    let config = rules(&json!({"rules": [
        {"key": "rpm", "operator": ">", "threshold": 5, "times": 2}]}));
    let mut watch = Watch::new("u", "d", effective_rules(Scope::Everybody, &config).into());
    let (mut outcomes, mut stored) = (Vec::new(), vec![watch.store()]);
    for (position, rpm) in (1..).zip([1, 6, 7, 9, 1, 8, 8]) {
        let second = position * 60;
        let reading = json!({"user_id": "u", "device_id": "d", "time": at(second),
            "extra_data": {"rpm": rpm}});
        let reading = serde_json::from_value(reading).unwrap();
        watch.evaluate(cause(position), &reading, &mut outcomes);
        stored.push(watch.store());
    }
    watch.change_rules(cause(8), [].into(), &mut outcomes);
    stored.push(watch.store());
    (stored, outcomes)
}

#[test]
fn ids_of_alerts_and_of_their_events() {
    let (_, outcomes) = watched();
    let ids = outcomes.iter().map(|outcome| {
        let event = eventsourcing::event::encode(&outcome.event).unwrap();
        format!("{} {} {}", event.event_type, outcome.alert_id, outcome.event_id)
    });
    assert_pinned(ids.zip([
        "alert_raised 018bcfe8-2720-8f86-aed4-28848c159cc3 018bcfe8-2720-8e48-8d06-738890b3c385",
        "alert_updated 018bcfe8-2720-8f86-aed4-28848c159cc3 018bcfe9-1180-890a-b28f-0825e58d42a4",
        "alert_cleared 018bcfe8-2720-8f86-aed4-28848c159cc3 018bcfe9-fbe0-8ee1-8bb2-27b9a3e301f0",
        "alert_raised 018bcfeb-d0a0-882e-a64e-f888e6f0a168 018bcfeb-d0a0-8818-a6e4-81c20942d8e7",
        "alert_cleared 018bcfeb-d0a0-882e-a64e-f888e6f0a168 018bcff4-aa40-8a99-9633-33631d39efad",
    ]));
    assert_eq!(outcomes.len(), 5);
}

/// States of earlier builds have no member `w`; see `suppression_tests` of alerts.
#[test]
fn stored_state_of_a_watch() {
    let (stored, _) = watched();
    assert_eq!(stored.len(), 9);
    for text in &stored {
        assert_eq!(Watch::restore("u", "d", [].into(), text).unwrap().store(), *text);
    }
    assert_pinned(stored.into_iter().zip([
        r#"{"through":0,"tracks":{}}"#,
        r#"{"through":1,"tracks":{"00000000-0000-8d85-a1bf-b23ff9d89ff0":{"t":1700000060000000}}}"#,
        r#"{"through":2,"tracks":{"00000000-0000-8d85-a1bf-b23ff9d89ff0":{"t":1700000120000000,"p":{"Breaching":{"since":"2023-11-14T22:15:20Z","count":1,"readings":[2]}}}}}"#,
        r#"{"through":3,"tracks":{"00000000-0000-8d85-a1bf-b23ff9d89ff0":{"t":1700000180000000,"p":{"Active":{"alert":"018bcfe8-2720-8f86-aed4-28848c159cc3","breaches":2,"worst":7.0,"told":"2023-11-14T22:16:20Z","calm":0}},"w":{"s":1700001000000000,"r":1,"u":0,"a":"018bcfe8-2720-8f86-aed4-28848c159cc3"}}}}"#,
        r#"{"through":4,"tracks":{"00000000-0000-8d85-a1bf-b23ff9d89ff0":{"t":1700000240000000,"p":{"Active":{"alert":"018bcfe8-2720-8f86-aed4-28848c159cc3","breaches":3,"worst":9.0,"told":"2023-11-14T22:17:20Z","calm":0}},"w":{"s":1700001000000000,"r":1,"u":1,"a":"018bcfe8-2720-8f86-aed4-28848c159cc3"}}}}"#,
        r#"{"through":5,"tracks":{"00000000-0000-8d85-a1bf-b23ff9d89ff0":{"t":1700000300000000,"w":{"s":1700001000000000,"r":1,"u":1,"a":"018bcfe8-2720-8f86-aed4-28848c159cc3"}}}}"#,
        r#"{"through":6,"tracks":{"00000000-0000-8d85-a1bf-b23ff9d89ff0":{"t":1700000360000000,"p":{"Breaching":{"since":"2023-11-14T22:19:20Z","count":1,"readings":[6]}},"w":{"s":1700001000000000,"r":1,"u":1,"a":"018bcfe8-2720-8f86-aed4-28848c159cc3"}}}}"#,
        r#"{"through":7,"tracks":{"00000000-0000-8d85-a1bf-b23ff9d89ff0":{"t":1700000420000000,"p":{"Active":{"alert":"018bcfeb-d0a0-882e-a64e-f888e6f0a168","breaches":2,"worst":8.0,"told":"2023-11-14T22:20:20Z","calm":0}},"w":{"s":1700001000000000,"r":2,"u":1,"a":"018bcfeb-d0a0-882e-a64e-f888e6f0a168"}}}}"#,
        r#"{"through":8,"tracks":{}}"#,
    ]));
}

#[test]
fn ids_of_facts() {
    let (user_id, device_id) = (UserId::parse("u").unwrap(), DeviceId::parse("d").unwrap());
    let device = DeviceRef { user_id: &user_id, device_id: &device_id };
    let reading = |payload: &str| {
        Reading::from_message(&Limits::DEFAULT, device, payload.as_bytes(), at(0))
            .unwrap()
            .0
            .to_string()
    };
    let sample = json!({"time": at(0), "users": 1, "load": [0, 0, 0],
        "storage": {"total_bytes": 3, "used_bytes": 1, "free_bytes": 1},
        "memory": {"total_bytes": 3, "used_bytes": 1}});
    let sample = sample.to_string();
    let sample = host::Sample::from_message(
        &TimeWindow::DEFAULT,
        &"web-1".parse().unwrap(),
        sample.as_bytes(),
        at(0),
    )
    .unwrap();
    let mut presence = Presence::default();
    let birth = Connection {
        user_id: user_id.clone(),
        device_id: device_id.clone(),
        session_seq: 7,
        boot_id: "b7".into(),
        reason: None,
        rests_on: None,
    };
    presence.connected(&birth, Position(3), at(3));
    let inactive = Decision::on(device, &presence).unwrap().id;
    presence.disconnected(&birth, Position(4), at(4));
    presence.record_reading(Position(5));
    let heard = Decision::on(device, &presence).unwrap().id;
    assert_pinned([
        (reading(r#"{"sequence_id": 42}"#), "00000000-002a-8216-a1f8-f59753d7318c"),
        (reading(r#"{"sequence_id": 42, "boot_id": 3}"#), "00000000-002a-84e9-abfa-57e864dea553"),
        (
            reading(r#"{"sequence_id": 42, "boot_id": "b", "time": 1700000000123}"#),
            "018bcfe5-687b-88a8-8b09-19bd3e672997",
        ),
        (sample.0.to_string(), "018bcfe5-6800-8175-92bc-0cc5340e7c73"),
        (inactive.to_string(), "00000000-0003-8b58-ba34-8bcec87f191b"),
        (heard.to_string(), "00000000-0004-87e7-8ba4-4d6c1a406cef"),
    ]);
}
