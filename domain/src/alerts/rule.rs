//! One rule: which field, compared how and with what, for how long; and what to say then.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::reading::FieldValue;
use crate::span::Span;

/// A rule. Seed 003's four members (`key`, `operator`, `threshold`, `message`) are enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub key: Key,
    pub operator: Operator,
    /// What the field is compared with; none for `is_missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// What people are told; the rule itself, if left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub severity: Severity,
    /// How long the condition must have held, by the time of the readings.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub held_for: Option<Span>,
    /// How many readings in a row must breach.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub times: u32,
    /// The alert clears on this side of here, rather than of `threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_threshold: Option<f64>,
    /// How many readings in a row must be calm for the alert to clear.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub clear_times: u32,
    /// Which devices: a name, or a pattern with `*`; all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// A rule that is switched off still takes the place of less specific ones.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    #[serde(rename = ">")]
    Above,
    #[serde(rename = "<")]
    Below,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = "==")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    /// From the lower bound to the upper, both included.
    #[serde(rename = "between")]
    Between,
    #[serde(rename = "outside")]
    Outside,
    /// The reading does not have the field, or has `null` there.
    #[serde(rename = "is_missing")]
    IsMissing,
}

impl Operator {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::Below => "<",
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Between => "between",
            Self::Outside => "outside",
            Self::IsMissing => "is_missing",
        }
    }

    /// Whether larger values are worse, where one direction is.
    pub(super) fn worse_direction(self) -> Option<Ordering> {
        match self {
            Self::Above | Self::AtLeast => Some(Ordering::Greater),
            Self::Below | Self::AtMost => Some(Ordering::Less),
            Self::Equal | Self::NotEqual | Self::Between | Self::Outside | Self::IsMissing => None,
        }
    }
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number, `[low, high]`, a text, or true or false")]
pub enum Threshold {
    Number(f64),
    Range([f64; 2]),
    Flag(bool),
    Text(String),
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Range([low, high]) => write!(f, "{low} and {high}"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// How bad it is, worst last.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    #[default]
    Warning,
    Minor,
    Major,
    Critical,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }
}

/// What a rule says of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Breach,
    /// Neither: past the threshold on the way back, not yet past the one to clear.
    Hysteresis,
    Calm,
}

impl Rule {
    /// Longest message, in characters.
    pub const MAX_MESSAGE: usize = 500;
    /// Longest text compared with, in characters.
    pub const MAX_TEXT: usize = 200;
    /// Most readings in a row that can be asked for.
    pub const MAX_TIMES: u32 = 1_000;
    /// Longest time a condition can be asked to hold: 7 days.
    pub const MAX_FOR: Duration = Duration::from_hours(7 * 24);
    /// Longest device name or pattern, in bytes.
    pub const MAX_PATTERN_BYTES: usize = 64;

    /// The rule in a few words: `battery < 20`.
    pub fn label(&self) -> String {
        match &self.threshold {
            Some(threshold) => format!("{} {} {threshold}", self.key, self.operator.as_str()),
            None => format!("{} {}", self.key, self.operator.as_str()),
        }
    }

    /// What people are told.
    pub fn message(&self) -> String {
        if self.message.is_empty() { self.label() } else { self.message.clone() }
    }

    /// What the rule says of `value`. None if it says nothing: the reading does not have the field,
    /// or has something in it that cannot be compared.
    pub(super) fn evaluate(&self, value: &FieldValue<'_>) -> Option<Verdict> {
        let breach = match (self.operator, value, &self.threshold) {
            (Operator::IsMissing, value, _) => *value == FieldValue::Missing,
            (_, FieldValue::Number(value), Some(Threshold::Number(threshold))) => {
                let order = value.partial_cmp(threshold)?;
                match self.operator {
                    Operator::Above => order.is_gt(),
                    Operator::Below => order.is_lt(),
                    Operator::AtLeast => order.is_ge(),
                    Operator::AtMost => order.is_le(),
                    Operator::Equal => order.is_eq(),
                    Operator::NotEqual => order.is_ne(),
                    Operator::Between | Operator::Outside | Operator::IsMissing => return None,
                }
            }
            (_, FieldValue::Number(value), Some(Threshold::Range([low, high]))) => {
                let within = (low..=high).contains(&value);
                (self.operator == Operator::Between) == within
            }
            (_, FieldValue::Text(value), Some(Threshold::Text(threshold))) => {
                (self.operator == Operator::Equal) == (value == threshold)
            }
            (_, FieldValue::Flag(value), Some(Threshold::Flag(threshold))) => {
                (self.operator == Operator::Equal) == (value == threshold)
            }
            _ => return None,
        };
        Some(match (breach, self.clear_threshold, value) {
            (true, ..) => Verdict::Breach,
            (false, Some(clear), FieldValue::Number(value)) if !self.is_clear(*value, clear) => {
                Verdict::Hysteresis
            }
            (false, ..) => Verdict::Calm,
        })
    }

    fn is_clear(&self, value: f64, clear: f64) -> bool {
        match self.operator.worse_direction() {
            Some(Ordering::Greater) => value <= clear,
            Some(_) => value >= clear,
            None => true,
        }
    }
}
