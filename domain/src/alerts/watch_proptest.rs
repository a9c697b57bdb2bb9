//! Property tests of watches: the alerts do not depend on restarts, redelivery and late readings.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::tests::{at, cause, config, effective_rules, reading};
use super::*;
use eventsourcing::event::{Position, encode};

/// Rules of every kind.
fn rules() -> Arc<[EffectiveRule]> {
    effective_rules(&config(json!({"temperature_max": 3, "rules": [
        {"key": "x", "operator": ">", "threshold": 2},
        {"key": "x", "operator": ">", "threshold": 1, "for": "3s", "clear_threshold": 0},
        {"key": "x", "operator": "<", "threshold": 1, "times": 3, "clear_times": 2},
        {"key": "y", "operator": "is_missing", "for": "2s"},
        {"key": "y", "operator": "outside", "threshold": [1, 2]},
        {"key": "y", "operator": "==", "threshold": 4}]})))
}

/// Random readings, each with its time in seconds.
fn readings() -> impl Strategy<Value = Vec<(i64, Reading)>> {
    let one = (0..60_i64, 0..5_i64, proptest::option::of(0..5_i64), proptest::option::of(0..5_i64));
    let one = one.prop_map(|(second, x, y, temperature)| {
        let mut fields = json!({ "x": x });
        if let Some(y) = y {
            fields["y"] = y.into();
        }
        if let Some(temperature) = temperature {
            fields["temperature"] = temperature.into();
        }
        (second, reading(second, &fields))
    });
    prop::collection::vec(one, 0..60)
}

/// Serializes every outcome with its ids.
fn serialized(outcomes: &[Outcome]) -> Vec<String> {
    let line = |outcome: &Outcome| {
        let stored = encode(&outcome.event).expect("the event is encodable");
        let (alert, event, cause) = (outcome.alert_id, outcome.event_id, outcome.cause);
        format!("{alert} {event} {cause} {} {}", stored.event_type, stored.data)
    };
    outcomes.iter().map(line).collect()
}

fn watched(readings: &[(i64, Reading)]) -> Vec<Outcome> {
    let mut watch = Watch::new("u", "d", rules());
    let mut outcomes = Vec::new();
    for (position, (_, reading)) in (1..).zip(readings) {
        watch.evaluate(cause(position, 1000), reading, &mut outcomes);
    }
    outcomes
}

proptest! {
    #[test]
    fn restarts_do_not_change_the_alerts(
        readings in readings(),
        // At each reading: 0 stores the state, 1 restarts from the stored state, others continue.
        starts in prop::collection::vec(0..4_u8, 60),
    ) {
        let whole = watched(&readings);
        let rules = rules();
        let mut watch = Watch::new("u", "d", Arc::clone(&rules));
        let (mut stored, mut stored_at) = (watch.store(), 0);
        let mut found: Vec<Outcome> = Vec::new();
        let mut next = 0;
        let mut crashes = starts.into_iter().cycle().take(200);
        while next < readings.len() {
            match crashes.next() {
                Some(0) => (stored, stored_at) = (watch.store(), next),
                Some(1) => {
                    watch = Watch::restore("u", "d", Arc::clone(&rules), &stored).expect("stored");
                    next = stored_at;
                    continue;
                }
                _ => {}
            }
            let mut outcomes = Vec::new();
            let position = i64::try_from(next).expect("few") + 1;
            watch.evaluate(cause(position, 1000), &readings[next].1, &mut outcomes);
            // The event store ignores a known event id.
            for outcome in outcomes {
                if !found.iter().any(|known| known.event_id == outcome.event_id) {
                    found.push(outcome);
                }
            }
            next += 1;
        }
        prop_assert_eq!(serialized(&found), serialized(&whole));
    }

    #[test]
    fn late_readings_do_not_change_the_alerts(readings in readings()) {
        // One rule whose field is in every reading, so a reading is late for it if any earlier one is
        // newer.
        let rule = effective_rules(&config(json!({"rules": [
            {"key": "x", "operator": ">", "threshold": 2, "times": 2, "clear_times": 2}]})));
        let alerts = |readings: &[(Position, Reading)]| {
            let mut watch = Watch::new("u", "d", Arc::clone(&rule));
            let mut outcomes = Vec::new();
            for (position, reading) in readings {
                watch.evaluate(cause(position.0, 1000), reading, &mut outcomes);
            }
            serialized(&outcomes)
        };
        let all: Vec<_> = (1..).map(Position).zip(readings.into_iter().map(|(_, it)| it)).collect();
        let mut newest = at(-1);
        let in_order: Vec<_> = all
            .iter()
            .filter(|(_, reading)| {
                let new = reading.time >= newest;
                newest = newest.max(reading.time);
                new
            })
            .cloned()
            .collect();
        prop_assert_eq!(alerts(&all), alerts(&in_order));
    }

    #[test]
    fn an_alert_is_raised_then_updated_then_cleared(readings in readings()) {
        let mut active = std::collections::HashMap::new();
        for outcome in watched(&readings) {
            match &outcome.event {
                alert::Event::AlertRaised(raised) => {
                    let rule = raised.notice.rule_id;
                    prop_assert_eq!(active.insert(rule, outcome.alert_id), None, "a rule has one active alert");
                }
                alert::Event::AlertUpdated { notice, .. } => {
                    prop_assert_eq!(active.get(&notice.rule_id), Some(&outcome.alert_id));
                }
                alert::Event::AlertCleared { notice, .. } => {
                    prop_assert_eq!(active.remove(&notice.rule_id), Some(outcome.alert_id));
                }
                alert::Event::AlertSuppressed { .. } => {}
                alert::Event::AlertAcknowledged { .. } => prop_assert!(false, "not acknowledged"),
            }
        }
    }
}
