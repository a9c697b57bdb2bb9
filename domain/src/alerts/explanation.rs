//! Why an alert was raised, step by step: the readings, and what the rule made of each.

use chrono::{DateTime, Utc};

use super::alert::Raised;
use super::reading::{FieldValue, Reading};
use crate::span::Span;
use eventsourcing::event::Position;

/// A reading that led to an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub position: Position,
    pub time: DateTime<Utc>,
    /// What stood in the rule's field.
    pub value: Option<serde_json::Value>,
    /// What the rule made of it.
    pub verdict: String,
}

/// The steps that led to `raised`. `readings` are those whose positions it names.
pub fn explain(raised: &Raised, readings: &[(Position, DateTime<Utc>, Reading)]) -> Vec<Step> {
    let rule = &raised.definition;
    let all = raised.readings.len();
    let steps = readings.iter().filter_map(|(position, recorded_at, reading)| {
        let index = raised.readings.iter().position(|known| known == position)?;
        // Of many, the first and the last are named: the second half counts from the end.
        let from_end = u64::try_from(all - index).unwrap_or(u64::MAX);
        let number = if index < all / 2 {
            u64::try_from(index).unwrap_or(u64::MAX) + 1
        } else {
            raised.breaches + 1 - from_end
        };
        let time = reading.time.min(*recorded_at);
        let mut verdict = vec![match reading.get(&rule.key) {
            FieldValue::Missing => format!("`{}` is missing", rule.key),
            value => {
                let value = value.to_json().unwrap_or_default();
                format!("{value} breaches `{}`", rule.label())
            }
        }];
        if rule.times > 1 {
            verdict.push(format!("breach {number} of {} in a row", rule.times));
        }
        if let Some(least) = rule.held_for {
            let held = (time - raised.since).to_std().unwrap_or_default();
            verdict.push(format!("held for {} of {least}", Span(held)));
        }
        if *position == raised.notice.because {
            verdict.push("the alert is raised".to_owned());
        }
        let value = reading.get(&rule.key).to_json();
        Some(Step { position: *position, time, value, verdict: verdict.join("; ") })
    });
    steps.collect()
}
