//! The explanation of an alert: the readings that led to it, and how the rule evaluated each.

use chrono::{DateTime, Utc};

use super::alert::Raised;
use super::reading::{FieldValue, Reading};
use crate::span::Span;
use eventsourcing::event::Position;

/// A reading that led to an alert, with its evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Position of the reading.
    pub position: Position,
    /// Time of the reading by the device's clock, at most its time of receipt.
    pub time: DateTime<Utc>,
    /// Value of the rule's field; `None` if it is missing.
    pub value: Option<serde_json::Value>,
    /// How the rule evaluated it, for people.
    pub verdict: String,
}

/// Returns the steps that led to `raised`. `readings` holds the readings at the positions it lists,
/// each with position and time of receipt.
pub fn explain(raised: &Raised, readings: &[(Position, DateTime<Utc>, Reading)]) -> Vec<Step> {
    let rule = &raised.definition;
    let all = raised.readings.len();
    let steps = readings.iter().filter_map(|(position, recorded_at, reading)| {
        let index = raised.readings.iter().position(|known| known == position)?;
        // Of many readings only the first and last are listed: the second half counts from the end.
        let from_end = u64::try_from(all - index).unwrap_or(u64::MAX);
        let number = if index < all / 2 {
            u64::try_from(index).unwrap_or(u64::MAX) + 1
        } else {
            raised.breaches + 1 - from_end
        };
        let time = reading.time.min(*recorded_at);
        let value = reading.get(&rule.key);
        let mut verdict = vec![if value == FieldValue::Missing {
            format!("`{}` is missing", rule.key)
        } else {
            format!("{} breaches `{}`", value.to_json().unwrap_or_default(), rule.label())
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
        let (value, verdict) = (value.to_json(), verdict.join("; "));
        Some(Step { position: *position, time, value, verdict })
    });
    steps.collect()
}
