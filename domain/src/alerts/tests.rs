//! Specifications of alerts: configs, and the evaluation of a device's readings.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::alert::{Command, Event, Rejection};
use super::*;
use eventsourcing::event::{Position, decode, encode};
use eventsourcing::given::given;

pub(super) fn config(rules: Value) -> Config {
    Config::parse(rules.to_string().as_bytes()).expect("the rules are valid")
}

/// Returns the rules of `config` that are effective for the device `d` of the user `u`.
pub(super) fn effective_rules(config: &Config) -> Arc<[EffectiveRule]> {
    EffectiveRule::select(&[(Scope::User("u".into()), 1, config)], "d").into()
}

pub(super) fn reading(second: i64, fields: &Value) -> Reading {
    let mut reading = json!({"user_id": "u", "device_id": "d", "time": at(second)});
    let mut extra = fields.as_object().expect("fields").clone();
    for known in ["temperature", "battery"] {
        if let Some(value) = extra.remove(known) {
            reading[known] = value;
        }
    }
    reading["extra_data"] = extra.into();
    serde_json::from_value(reading).expect("a reading")
}

pub(super) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + second, 0).expect("a time")
}

pub(super) fn cause(position: i64, received: i64) -> Cause {
    let id = Uuid::from_u128(u128::try_from(position).expect("positive"));
    Cause { position: Position(position), id, recorded_at: at(received) }
}

/// Evaluates readings of a device, each with its time in seconds, and summarizes the events they
/// cause.
fn summaries(rules: Value, readings: &[(i64, Value)]) -> Vec<String> {
    let mut watch = Watch::new("u", "d", effective_rules(&config(rules)));
    let mut outcomes = Vec::new();
    for (position, (second, fields)) in (1..).zip(readings) {
        watch.evaluate(cause(position, 1_000_000), &reading(*second, fields), &mut outcomes);
    }
    outcomes.iter().map(|outcome| summary(&outcome.event)).collect()
}

fn summary(event: &Event) -> String {
    let of = |notice: &Notice| {
        let value = notice.value.as_ref().map(Value::to_string).unwrap_or_default();
        format!("{} {value} @{}", notice.rule, notice.time.timestamp() - 1_700_000_000)
    };
    match event {
        Event::AlertRaised(raised) => format!("raised {}", of(&raised.notice)),
        Event::AlertUpdated { notice, .. } => format!("updated {}", of(notice)),
        Event::AlertCleared { notice, .. } => format!("cleared {}", of(notice)),
        Event::AlertSuppressed { notice, .. } => format!("suppressed {}", of(notice)),
        Event::AlertAcknowledged { by, .. } => format!("acknowledged by {by}"),
    }
}

fn one(rule: Value) -> Value {
    json!({"rules": [rule]})
}

#[test]
fn an_alert_is_raised_once_and_cleared() {
    let rules = json!({"temperature_max": 80.0, "rules": [
        {"key": "battery", "operator": "<", "threshold": 20.0, "message": "Critical Battery Level!"},
        {"key": "pressure", "operator": ">", "threshold": 105.5, "message": "Overpressure detected"},
        {"key": "vibration", "operator": ">", "threshold": 5.0, "message": "High Vibration Detected"}]});
    let readings = [
        (0, json!({"battery": 50, "temperature": 20.0, "pressure": 100, "vibration": 1})),
        (1, json!({"battery": 19, "temperature": 80.5})),
        (2, json!({"battery": 18, "pressure": 105.6, "vibration": 5.0})),
        (3, json!({"battery": 20, "pressure": 105.5, "vibration": 5.1, "temperature": 80})),
    ];
    assert_eq!(
        summaries(rules, &readings),
        [
            "raised temperature > 80 80.5 @1",
            "raised battery < 20 19.0 @1",
            "raised pressure > 105.5 105.6 @2",
            "cleared temperature > 80 80.0 @3",
            "cleared battery < 20 20.0 @3",
            "cleared pressure > 105.5 105.5 @3",
            "raised vibration > 5 5.1 @3",
        ]
    );
}

#[test]
fn a_key_finds_nested_fields_and_names_with_dots() {
    for key in ["engine.pressure", "/engine/pressure"] {
        let rule = one(json!({"key": key, "operator": ">", "threshold": 1}));
        let nested = json!({"engine": {"pressure": 2}});
        assert_eq!(summaries(rule, &[(0, nested)]).len(), 1, "{key}");
    }
    let rule = json!({"key": "engine.pressure", "operator": ">", "threshold": 1});
    let flat = json!({"engine.pressure": 2, "engine": {"pressure": 0}});
    assert_eq!(summaries(one(rule), &[(0, flat)]).len(), 1);
    let rule = json!({"key": "axes.1", "operator": ">", "threshold": 1});
    assert_eq!(summaries(one(rule), &[(0, json!({"axes": [0, 5]}))]).len(), 1);
}

#[test]
fn every_operator_compares() {
    for (operator, threshold, breaches, calm) in [
        (">", json!(5), json!(5.1), json!(5)),
        ("<", json!(5), json!(4.9), json!(5)),
        (">=", json!(5), json!(5), json!(4.9)),
        ("<=", json!(5), json!(5), json!(5.1)),
        ("==", json!(5), json!(5.0), json!(4)),
        ("!=", json!(5), json!(4), json!(5)),
        ("between", json!([2, 8]), json!(8), json!(8.1)),
        ("outside", json!([2, 8]), json!(1.9), json!(2)),
        ("==", json!("DELAYED"), json!("DELAYED"), json!("ON TIME")),
        ("!=", json!(true), json!(false), json!(true)),
    ] {
        let rule = one(json!({"key": "x", "operator": operator, "threshold": threshold}));
        let readings =
            [(0, json!({"x": calm})), (1, json!({"x": breaches})), (2, json!({"x": calm}))];
        let found = summaries(rule, &readings);
        assert_eq!(found.len(), 2, "{operator} {threshold}: {found:?}");
    }
}

#[test]
fn a_missing_field_is_evaluated_by_is_missing_only() {
    let above = one(json!({"key": "x", "operator": ">", "threshold": 1}));
    let readings =
        [(0, json!({"x": 2})), (1, json!({})), (2, json!({"x": null})), (3, json!({"x": "n/a"}))];
    assert_eq!(
        summaries(above, &readings).len(),
        1,
        "a missing field is neither a breach nor calm"
    );
    let missing = one(json!({"key": "x", "operator": "is_missing"}));
    let readings =
        [(0, json!({"x": 2})), (1, json!({})), (2, json!({"x": null})), (3, json!({"x": 0}))];
    assert_eq!(
        summaries(missing, &readings),
        ["raised x is_missing  @1", "cleared x is_missing 0.0 @3"]
    );
}

#[test]
fn a_condition_must_hold_by_the_time_of_the_readings() {
    let rule = json!({"key": "x", "operator": ">", "threshold": 1, "for": "5m"});
    let x = |x: i64| json!({ "x": x });
    let readings = [(0, x(2)), (299, x(2)), (300, x(3)), (301, x(2))];
    assert_eq!(summaries(one(rule.clone()), &readings), ["raised x > 1 3.0 @300"]);
    let readings = [(0, x(2)), (200, x(0)), (300, x(3)), (599, x(2))];
    assert!(summaries(one(rule), &readings).is_empty(), "a calm reading restarts the duration");
    let seconds = json!({"key": "x", "operator": ">", "threshold": 1, "for": 10});
    assert_eq!(summaries(one(seconds), &[(0, x(2)), (10, x(2))]).len(), 1);
}

#[test]
fn consecutive_readings_raise_and_clear_an_alert() {
    let rule = json!({"key": "x", "operator": ">", "threshold": 1, "times": 3, "clear_times": 2});
    let x = |values: &[i64]| -> Vec<_> {
        (0..).zip(values.iter().map(|x| json!({ "x": x }))).collect()
    };
    assert!(summaries(one(rule.clone()), &x(&[2, 2, 0, 2, 2])).is_empty());
    let found = summaries(one(rule), &x(&[2, 2, 2, 0, 2, 0, 0]));
    assert_eq!(found, ["raised x > 1 2.0 @2", "cleared x > 1 0.0 @6"]);
}

#[test]
fn an_alert_is_cleared_at_its_clear_threshold() {
    let rule = json!({"key": "x", "operator": ">", "threshold": 10, "clear_threshold": 8});
    let readings: Vec<_> = (0..).zip([11, 9, 11, 9, 8].map(|x| json!({ "x": x }))).collect();
    assert_eq!(summaries(one(rule), &readings), ["raised x > 10 11.0 @0", "cleared x > 10 8.0 @4"]);
}

#[test]
fn a_worsening_alert_is_updated_at_most_once_a_minute() {
    let rule = json!({"key": "x", "operator": "<", "threshold": 10});
    let x = |x: i64| json!({ "x": x });
    let readings = [
        (0, x(9)),
        (10, x(8)),
        (59, x(7)),
        (60, x(7)),
        (61, x(6)),
        (62, x(5)),
        (200, x(9)),
        (201, x(4)),
    ];
    assert_eq!(
        summaries(one(rule), &readings),
        ["raised x < 10 9.0 @0", "updated x < 10 6.0 @61", "updated x < 10 4.0 @201"]
    );
}

/// At both changes of summer time, of a clock of local time that is sent as if it were UTC, and of one that
/// is sent with its offset, which does not change.
#[test]
fn a_change_of_summer_time_does_not_silence_rules() {
    let rules = json!({"rules": [{"key": "v", "operator": ">", "threshold": 10, "for": "1m"}]});
    for (change, raised_by) in [(0, 5), (-3_600, 6), (3_600, 4)] {
        let rules = effective_rules(&config(rules.clone()));
        let mut watch = Watch::new("u", "d", Arc::clone(&rules));
        let mut outcomes = Vec::new();
        // A reading every 30 s from 8,000 s on; the clock changes during a breach. How
        // much time lies between the readings around a change is unknown: none counts if it is back.
        for n in 0..8_i64 {
            let second = 8_000 + 30 * n + if n >= 4 { change } else { 0 };
            let mut reading = reading(second, &json!({"v": if n < 3 { 1 } else { 20 }}));
            reading.sequence_id = Some(n);
            let late = watch.evaluate(cause(n + 1, 20_000 + 30 * n), &reading, &mut outcomes);
            assert!(!late, "{change}: {n}");
        }
        let raised: Vec<_> = outcomes.iter().map(|outcome| outcome.cause.as_u128()).collect();
        assert_eq!(raised, [raised_by + 1], "{change}");
        let stored = Watch::restore("u", "d", rules, &watch.store());
        assert_eq!(stored.unwrap(), watch);
    }
}

#[test]
fn a_late_reading_is_not_evaluated() {
    let rule = json!({"key": "x", "operator": ">", "threshold": 1});
    let readings =
        [(10, json!({"x": 0})), (9, json!({"x": 5})), (10, json!({"x": 6})), (8, json!({"x": 0}))];
    assert_eq!(summaries(one(rule), &readings), ["raised x > 1 6.0 @10"]);
    // Each rule has its own newest reading.
    let rules = json!({"rules": [{"key": "x", "operator": ">", "threshold": 1},
        {"key": "y", "operator": ">", "threshold": 1}]});
    assert_eq!(
        summaries(rules, &[(10, json!({"x": 0})), (9, json!({"y": 5}))]),
        ["raised y > 1 5.0 @9"]
    );
}

#[test]
fn a_clock_that_ran_ahead_does_not_make_later_readings_late() {
    let mut watch = Watch::new(
        "u",
        "d",
        effective_rules(&config(one(json!({"key": "x", "operator": ">", "threshold": 1})))),
    );
    let mut outcomes = Vec::new();
    watch.evaluate(cause(1, 10), &reading(80_000, &json!({"x": 0})), &mut outcomes);
    watch.evaluate(cause(2, 11), &reading(11, &json!({"x": 2})), &mut outcomes);
    assert_eq!(outcomes.len(), 1);
}

#[test]
fn a_change_of_rules_clears_the_alerts_of_removed_rules() {
    let both = config(json!({"rules": [{"key": "x", "operator": ">", "threshold": 1},
        {"key": "y", "operator": ">", "threshold": 1}]}));
    let mut watch = Watch::new("u", "d", effective_rules(&both));
    let mut outcomes = Vec::new();
    watch.evaluate(cause(1, 1), &reading(1, &json!({"x": 2, "y": 2})), &mut outcomes);
    assert_eq!(outcomes.len(), 2);
    outcomes.clear();
    let louder = config(json!({"rules": [
        {"key": "x", "operator": ">", "threshold": 1, "severity": "critical", "message": "!"}]}));
    watch.change_rules(cause(2, 2), effective_rules(&louder), &mut outcomes);
    assert_eq!(
        outcomes.iter().map(|o| summary(&o.event)).collect::<Vec<_>>(),
        ["cleared y > 1  @2"]
    );
    assert!(matches!(outcomes[0].event, Event::AlertCleared { why: ClearReason::RuleChanged, .. }));
    assert!(watch.is_alerting(), "the other rule is unchanged");
}

#[test]
fn an_applied_reading_is_ignored_after_a_restore() {
    let rules = effective_rules(&config(one(json!({"key": "x", "operator": ">", "threshold": 1}))));
    let mut watch = Watch::new("u", "d", Arc::clone(&rules));
    let (mut first, mut again) = (Vec::new(), Vec::new());
    watch.evaluate(cause(1, 1), &reading(1, &json!({"x": 2})), &mut first);
    let mut restored = Watch::restore("u", "d", rules, &watch.store()).unwrap();
    assert_eq!(restored, watch);
    restored.evaluate(cause(1, 1), &reading(1, &json!({"x": 2})), &mut again);
    assert_eq!((first.len(), again.len()), (1, 0));
}

#[test]
fn faults_point_at_the_rule() {
    let faults = |rules: Value| -> Vec<String> {
        let faults =
            Config::parse(rules.to_string().as_bytes()).expect_err("the rules are invalid");
        faults.iter().map(ToString::to_string).collect()
    };
    let ok = json!({"key": "x", "operator": ">", "threshold": 1});
    let with = |member: &str, value: Value| {
        let mut rule = ok.clone();
        rule[member] = value;
        faults(json!({"rules": [ok, rule]}))
    };
    for (member, value) in [
        ("threshold", json!([1, 2])),
        ("threshold", json!("hot")),
        ("message", json!("x".repeat(501))),
        ("for", json!("8d")),
        ("times", json!(0)),
        ("clear_times", json!(1001)),
        ("clear_threshold", json!(2)),
        ("device_id", json!("a/b")),
        ("operator", json!("~")),
        ("for", json!("soon")),
        ("times", json!(1.5)),
        ("colour", json!(1)),
    ] {
        let found = with(member, value);
        assert!(found[0].starts_with(&format!("/rules/1/{member}: ")), "{found:?}");
    }
    assert!(
        Config::parse(br#"{"rules": [{"key": "x", "operator": "is_missing", "times": 2.0}]}"#)
            .is_ok()
    );
    assert_eq!(faults(json!({"rules": [ok, ok]})), ["/rules/1: duplicate of the rule at /rules/0"]);
    assert!(faults(json!({"rules": vec![&ok; 101]}))[0].starts_with("/rules: at most 100"));
    assert!(faults(json!({"colour": 1}))[0].starts_with("/colour: unknown field"));
    let two = json!({"rules": [{"key": "", "operator": ">", "threshold": 1}, {"operator": ">"}]});
    assert_eq!(faults(two).len(), 2, "all faults are returned at once");
}

#[test]
fn configuring_the_same_rules_returns_no_event() {
    let config = config(one(json!({"key": "x", "operator": ">", "threshold": 1})));
    let scope = Scope::User("u".into());
    let command = config::Command::Configure { scope: scope.clone(), config: config.clone() };
    let event = RulesEvent::configured(&scope, config);
    given::<Rules>([]).when(command.clone()).then([event.clone()]);
    given::<Rules>([event]).when(command).then_nothing();
}

#[test]
fn an_alert_is_acknowledged_once() {
    let rules = effective_rules(&config(one(
        json!({"key": "x", "operator": ">", "threshold": 1, "for": 0}),
    )));
    let mut outcomes = Vec::new();
    Watch::new("u", "d", rules).evaluate(cause(1, 1), &reading(1, &json!({"x": 2})), &mut outcomes);
    let raised = outcomes.remove(0).event;
    let acknowledge = Command::Acknowledge { by: "u".into(), at: at(5) };
    let acknowledged = Event::AlertAcknowledged { by: "u".into(), at: at(5) };
    given::<Alert>([]).when(acknowledge.clone()).then_rejected(Rejection::Unknown);
    given::<Alert>([raised.clone()]).when(acknowledge.clone()).then([acknowledged.clone()]);
    given::<Alert>([raised.clone(), acknowledged]).when(acknowledge).then_nothing();
    let stored = encode(&raised).unwrap();
    let read: Event = decode(&stored.event_type, stored.schema_version, &stored.data).unwrap();
    assert_eq!(read, raised);
}

#[test]
fn an_explanation_counts_its_steps() {
    let rules = json!({"key": "x", "operator": ">", "threshold": 1, "times": 3, "for": "2s"});
    let mut watch = Watch::new("u", "d", effective_rules(&config(one(rules))));
    let (mut outcomes, mut seen) = (Vec::new(), Vec::new());
    for position in 1..=3 {
        let reading = reading(position, &json!({"x": 1 + position}));
        watch.evaluate(cause(position, 9), &reading, &mut outcomes);
        seen.push((Position(position), at(9), reading));
    }
    let Event::AlertRaised(raised) = &outcomes[0].event else { panic!("raised") };
    let steps: Vec<_> = explain(raised, &seen).into_iter().map(|step| step.verdict).collect();
    assert_eq!(
        steps,
        [
            "2.0 breaches `x > 1`; breach 1 of 3 in a row; held for 0ms of 2s",
            "3.0 breaches `x > 1`; breach 2 of 3 in a row; held for 1s of 2s",
            "4.0 breaches `x > 1`; breach 3 of 3 in a row; held for 2s of 2s; the alert is raised",
        ]
    );
}
