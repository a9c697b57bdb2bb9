//! A rule: a condition on one field of a reading, and the alert it raises.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reading::FieldValue;
use crate::field_path::FieldPath;
use crate::span::Span;

/// A rule. The members `key`, `operator` and `threshold` are enough; the others have defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Field to evaluate.
    pub key: FieldPath,
    /// How the field is compared with the threshold.
    pub operator: Operator,
    /// Value the field is compared with; `None` for `is_missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// Message of the alert, at most [`Self::MAX_MESSAGE`] characters; if empty, the rule itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Severity of the alert.
    #[serde(default, skip_serializing_if = "is_default")]
    pub severity: Severity,
    /// How long the condition must hold before the alert is raised, by the time of the readings, at
    /// most [`Self::MAX_FOR`]; `None` raises it at once. `for` in JSON.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub held_for: Option<Span>,
    /// Number of consecutive breaching readings before the alert is raised, 1 to
    /// [`Self::MAX_TIMES`].
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub times: u32,
    /// Threshold for clearing the alert, on the calm side of `threshold` (hysteresis); `None` clears
    /// it at `threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_threshold: Option<f64>,
    /// Number of consecutive calm readings before the alert is cleared, 1 to [`Self::MAX_TIMES`].
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub clear_times: u32,
    /// Devices the rule applies to: an id, or a pattern with `*`; `None` for all devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Whether the rule raises alerts. A disabled rule hides less specific rules.
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

/// How a field is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// Greater than.
    #[serde(rename = ">")]
    Above,
    /// Less than.
    #[serde(rename = "<")]
    Below,
    /// Greater than or equal to.
    #[serde(rename = ">=")]
    AtLeast,
    /// Less than or equal to.
    #[serde(rename = "<=")]
    AtMost,
    /// Equal to.
    #[serde(rename = "==")]
    Equal,
    /// Not equal to.
    #[serde(rename = "!=")]
    NotEqual,
    /// In the range, both bounds included.
    #[serde(rename = "between")]
    Between,
    /// Outside the range; the bounds are inside.
    #[serde(rename = "outside")]
    Outside,
    /// The field is absent or `null`.
    #[serde(rename = "is_missing")]
    IsMissing,
}

impl Operator {
    /// Returns the operator as written in JSON.
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

    /// Returns the direction in which values get worse, or `None` if the operator has none.
    pub(super) fn worse_direction(self) -> Option<Ordering> {
        match self {
            Self::Above | Self::AtLeast => Some(Ordering::Greater),
            Self::Below | Self::AtMost => Some(Ordering::Less),
            Self::Equal | Self::NotEqual | Self::Between | Self::Outside | Self::IsMissing => None,
        }
    }
}

/// The value a field is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number, `[low, high]`, a text, or true or false")]
pub enum Threshold {
    /// A number, for all operators but `between`, `outside` and `is_missing`.
    Number(f64),
    /// Lower and upper bound, for `between` and `outside`.
    Range([f64; 2]),
    /// `true` or `false`, for `==` and `!=`.
    Flag(bool),
    /// A text of at most [`Rule::MAX_TEXT`] characters, for `==` and `!=`.
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

/// The severity of an alert, in increasing order.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Informational.
    Info,
    /// May need attention; the default.
    #[default]
    Warning,
    /// A minor problem.
    Minor,
    /// A major problem.
    Major,
    /// Needs attention at once.
    Critical,
}

impl Severity {
    /// Returns the stable name, as stored and shown by the API.
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

/// The evaluation of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The condition holds.
    Breach,
    /// The condition does not hold, but the value has not passed the clear threshold.
    Hysteresis,
    /// The condition does not hold.
    Calm,
}

impl Rule {
    /// Maximum length of a message in characters.
    pub const MAX_MESSAGE: usize = 500;
    /// Maximum length of a text threshold in characters.
    pub const MAX_TEXT: usize = 200;
    /// Maximum of `times` and `clear_times`.
    pub const MAX_TIMES: u32 = 1_000;
    /// Maximum of `for`: 7 days.
    pub const MAX_FOR: Duration = Duration::from_hours(7 * 24);
    /// Maximum length of a device id or pattern in bytes.
    pub const MAX_PATTERN_BYTES: usize = 64;

    /// Returns the condition as text, such as `battery < 20`.
    pub fn label(&self) -> String {
        match &self.threshold {
            Some(threshold) => format!("{} {} {threshold}", self.key, self.operator.as_str()),
            None => format!("{} {}", self.key, self.operator.as_str()),
        }
    }

    /// Returns the message of the alert: the configured one, or the condition.
    pub fn message(&self) -> String {
        if self.message.is_empty() { self.label() } else { self.message.clone() }
    }

    /// Evaluates `value`. Returns `None` if the value is missing or cannot be compared with the
    /// threshold.
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
