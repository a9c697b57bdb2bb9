//! Watching is a fold: however the log is cut, whoever starts again, and whatever order readings
//! come in, the alerts are what the rule of order says.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::tests::{at, cause, config, effective_rules, reading};
use super::*;
use eventsourcing::event::{Position, encode};

/// Rules of every kind there is.
fn rules() -> Arc<[EffectiveRule]> {
    effective_rules(&config(json!({"temperature_max": 3, "rules": [
        {"key": "x", "operator": ">", "threshold": 2},
        {"key": "x", "operator": ">", "threshold": 1, "for": "3s", "clear_threshold": 0},
        {"key": "x", "operator": "<", "threshold": 1, "times": 3, "clear_times": 2},
        {"key": "y", "operator": "is_missing", "for": "2s"},
        {"key": "y", "operator": "outside", "threshold": [1, 2]},
        {"key": "y", "operator": "==", "threshold": 4}]})))
}

/// A reading: its second, and its fields.
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

/// Every event, to the letter, with its id.
fn letters(outcomes: &[Outcome]) -> Vec<String> {
    let line = |outcome: &Outcome| {
        let stored = encode(&outcome.event).expect("an event can be stored");
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
    fn starting_again_anywhere_changes_nothing(
        readings in readings(),
        // At each reading: go on, start again from what was stored, or go back as far as that.
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
            // The log knows each event by its id.
            for outcome in outcomes {
                if !found.iter().any(|known| known.event_id == outcome.event_id) {
                    found.push(outcome);
                }
            }
            next += 1;
        }
        prop_assert_eq!(letters(&found), letters(&whole));
    }

    #[test]
    fn what_comes_too_late_might_as_well_not_have_come(readings in readings()) {
        // For one rule that every reading has to do with: those at least as new as all before.
        let rule = effective_rules(&config(json!({"rules": [
            {"key": "x", "operator": ">", "threshold": 2, "times": 2, "clear_times": 2}]})));
        let told = |readings: &[(Position, Reading)]| {
            let mut watch = Watch::new("u", "d", Arc::clone(&rule));
            let mut outcomes = Vec::new();
            for (position, reading) in readings {
                watch.evaluate(cause(position.0, 1000), reading, &mut outcomes);
            }
            letters(&outcomes)
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
        prop_assert_eq!(told(&all), told(&in_order));
    }

    #[test]
    fn an_alert_is_raised_then_updated_then_cleared(readings in readings()) {
        let mut active = std::collections::HashMap::new();
        for outcome in watched(&readings) {
            match &outcome.event {
                alert::Event::AlertRaised(raised) => {
                    let rule = raised.notice.rule_id;
                    prop_assert_eq!(active.insert(rule, outcome.alert_id), None, "one a rule");
                }
                alert::Event::AlertUpdated { notice, .. } => {
                    prop_assert_eq!(active.get(&notice.rule_id), Some(&outcome.alert_id));
                }
                alert::Event::AlertCleared { notice, .. } => {
                    prop_assert_eq!(active.remove(&notice.rule_id), Some(outcome.alert_id));
                }
                alert::Event::AlertAcknowledged { .. } => prop_assert!(false, "nobody did"),
            }
        }
    }
}
