//! Specifications of the bound on alerts: how many events a rule causes for a device in an hour of the
//! log's clock.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::alert::Event;
use super::rule_state::{MAX_RAISED, MAX_UPDATED};
use super::tests::{cause, config, effective_rules, reading};
use super::{Outcome, Watch};

const HOUR: i64 = 3_600;

fn watch(rules: &[Value]) -> Watch {
    Watch::new("u", "d", effective_rules(&config(json!({ "rules": rules }))))
}

fn above(threshold: i64) -> Value {
    json!({"key": "x", "operator": ">", "threshold": threshold})
}

/// Evaluates readings of `x`, each with its time and the time it is recorded, in seconds.
fn evaluated(watch: &mut Watch, first: i64, readings: &[(i64, i64, i64)]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (position, (time, recorded, x)) in (first..).zip(readings) {
        watch.evaluate(
            cause(position, *recorded),
            &reading(*time, &json!({"x": x})),
            &mut outcomes,
        );
    }
    outcomes
}

/// Counts of raised, updated, cleared and suppressed.
fn counts(outcomes: &[Outcome]) -> [usize; 4] {
    let mut counts = [0; 4];
    for outcome in outcomes {
        let kind = match &outcome.event {
            Event::AlertRaised(_) => 0,
            Event::AlertUpdated { .. } => 1,
            Event::AlertCleared { .. } => 2,
            Event::AlertSuppressed { .. } => 3,
            Event::AlertAcknowledged { .. } => continue,
        };
        counts[kind] += 1;
    }
    counts
}

#[test]
fn alternating_readings_raise_a_bounded_number_of_alerts() {
    let rules: Vec<Value> = (0..100).map(above).collect();
    let mut watch = watch(&rules);
    // The device claims that weeks pass between its readings.
    let alternating =
        |n: i64| (n * 7 * 24 * HOUR, 1_000 * 7 * 24 * HOUR, if n % 2 == 0 { 500 } else { -1 });
    let outcomes = evaluated(&mut watch, 1, &(0..20).map(alternating).collect::<Vec<_>>());
    assert_eq!(counts(&outcomes), [500, 0, 500, 100]);
    // The bound does not depend on the number of readings.
    let more = evaluated(&mut watch, 21, &(20..200).map(alternating).collect::<Vec<_>>());
    assert_eq!(counts(&more), [0; 4]);
}

#[test]
fn a_suppression_names_its_end_and_alerts_are_raised_again_after_it() {
    let mut watch = watch(&[above(1)]);
    let alternating: Vec<_> = (0..20).map(|n| (n, 100, if n % 2 == 0 { 2 } else { 0 })).collect();
    let outcomes = evaluated(&mut watch, 1, &alternating);
    let [.., cleared, suppressed] = &outcomes[..] else { panic!("{outcomes:?}") };
    let Event::AlertSuppressed { until, notice } = &suppressed.event else { panic!("suppressed") };
    assert_eq!(*until, super::tests::at(100 + HOUR));
    assert_eq!((suppressed.alert_id, notice.rule.as_str()), (cleared.alert_id, "x > 1"));
    let restored = Watch::restore(
        "u",
        "d",
        effective_rules(&config(json!({"rules": [above(1)]}))),
        &watch.store(),
    );
    assert_eq!(restored.unwrap(), watch);
    let early = evaluated(&mut watch, 21, &[(30, 99 + HOUR, 2)]);
    assert_eq!(counts(&early), [0; 4]);
    let late = evaluated(&mut watch, 22, &[(31, 100 + HOUR, 2)]);
    assert_eq!(counts(&late), [1, 0, 0, 0]);
}

#[test]
fn updates_are_bounded_whatever_times_the_device_claims() {
    let mut watch = watch(&[above(1)]);
    let worse: Vec<_> = (0..200).map(|n| (n * 61, 200 * 61, 2 + n)).collect();
    let outcomes = evaluated(&mut watch, 1, &worse);
    assert_eq!(counts(&outcomes), [1, MAX_UPDATED as usize, 0, 1]);
}

/// Snapshots of an earlier build hold no window.
#[test]
fn a_state_without_a_window_is_restored() {
    let mut watch = watch(&[above(1)]);
    evaluated(&mut watch, 1, &[(0, 100, 2)]);
    let mut stored: Value = serde_json::from_str(&watch.store()).unwrap();
    let states = stored["tracks"].as_object_mut().unwrap();
    for state in states.values_mut() {
        assert!(state.as_object_mut().unwrap().remove("w").is_some());
    }
    let rules = effective_rules(&config(json!({"rules": [above(1)]})));
    let mut watch = Watch::restore("u", "d", rules, &stored.to_string()).unwrap();
    let outcomes = evaluated(&mut watch, 2, &[(61, 161, 3), (62, 162, 0)]);
    assert_eq!(counts(&outcomes), [0, 1, 1, 0]);
}

proptest! {
    #[test]
    fn a_rule_causes_a_bounded_number_of_events_in_an_hour(
        readings in prop::collection::vec((0..20_000_i64, 0..3_i64), 1..300),
    ) {
        let mut watch = watch(&[above(1)]);
        let readings: Vec<_> =
            readings.into_iter().map(|(time, x)| (time, 20_000, x)).collect();
        let [raised, updated, cleared, suppressed] = counts(&evaluated(&mut watch, 1, &readings));
        prop_assert!(raised <= MAX_RAISED as usize && updated <= MAX_UPDATED as usize);
        prop_assert!(cleared <= raised && suppressed <= 1);
    }
}
