//! A config: the rules of one user, or the default rules, as `{"temperature_max", "rules"}`. Each
//! change is an event; the version of the stream is the version of the config.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::published::{RULES, RULES_CONFIGURED, Scope};
use super::rule::{Operator, Rule, Severity, Threshold};
use crate::field_path::FieldPath;
use eventsourcing::decider::{Decider, Decision, accept, nothing};
use eventsourcing::json::{self, ReadError};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[(RULES_CONFIGURED, 1)];

/// The rules of one scope, in the form in which they are sent, stored and shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Shorthand for a rule `temperature > …`; `None` for no such rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_max: Option<f64>,
    /// The rules, at most [`Self::MAX_RULES`].
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// A fault of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer to the invalid value; empty for the whole config.
    pub pointer: String,
    /// What is wrong, for people.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.pointer.is_empty() { "/" } else { &self.pointer }, self.reason)
    }
}

/// Returns an error of what is at `place` as a fault.
fn at(place: &str, error: ReadError) -> Fault {
    match error {
        ReadError::Syntax(error) => Fault { pointer: place.into(), reason: error.to_string() },
        ReadError::Fault(json::Fault { pointer, reason }) => {
            Fault { pointer: format!("{place}{pointer}"), reason: reason.to_string() }
        }
    }
}

impl Config {
    /// Maximum number of rules in one config.
    pub const MAX_RULES: usize = 100;
    /// Maximum size of a config in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Parses and validates a config.
    ///
    /// # Errors
    /// Returns all faults, at least one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<Fault>> {
        let fault = |pointer: String, reason: String| Fault { pointer, reason };
        let whole = |reason: String| vec![fault(String::new(), reason)];
        if bytes.len() > Self::MAX_BYTES {
            return Err(whole(format!("a config is at most {} bytes", Self::MAX_BYTES)));
        }
        let unparsed: UnparsedConfig = json::read(bytes).map_err(|error| vec![at("", error)])?;
        if unparsed.rules.len() > Self::MAX_RULES {
            let reason = format!("at most {} rules", Self::MAX_RULES);
            return Err(vec![fault("/rules".into(), reason)]);
        }
        let (mut rules, mut faults) = (Vec::new(), Vec::new());
        for (index, rule) in unparsed.rules.iter().enumerate() {
            match json::read::<Rule>(rule.get().as_bytes()) {
                Ok(rule) => {
                    faults.extend(
                        rule.faults().into_iter().map(|(member, reason)| {
                            fault(format!("/rules/{index}/{member}"), reason)
                        }),
                    );
                    rules.push(rule);
                }
                Err(error) => faults.push(at(&format!("/rules/{index}"), error)),
            }
        }
        let config = Self { temperature_max: unparsed.temperature_max, rules };
        if faults.is_empty() {
            faults.extend(config.duplicates().map(|(index, first)| {
                let reason = format!("duplicate of the rule at /rules/{first}");
                fault(format!("/rules/{index}"), reason)
            }));
        }
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    /// Returns all rules, including the one that `temperature_max` stands for.
    pub fn all(&self) -> impl Iterator<Item = Rule> + '_ {
        let shorthand = self.temperature_max.map(|max| {
            let message = format!("Temperature above {max}");
            Rule::new("temperature", Operator::Above, Threshold::Number(max), message)
        });
        shorthand.into_iter().chain(self.rules.iter().cloned())
    }

    /// Returns the index of each rule with the same identity as an earlier rule, with the index of the
    /// earlier one.
    fn duplicates(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut first: HashMap<String, usize> = HashMap::new();
        self.rules.iter().enumerate().filter_map(move |(index, rule)| {
            let known = *first.entry(rule.identity()).or_insert(index);
            (known != index).then_some((index, known))
        })
    }
}

/// A config whose rules are not parsed yet, so that the faults of each are reported separately.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnparsedConfig {
    #[serde(default)]
    temperature_max: Option<f64>,
    #[serde(default)]
    rules: Vec<Box<RawValue>>,
}

impl Rule {
    /// Creates a rule with default values for all other members.
    ///
    /// # Panics
    /// Panics if `key` is not a valid path.
    pub fn new(key: &str, operator: Operator, threshold: Threshold, message: String) -> Self {
        Self {
            key: FieldPath::parse(key).expect("the key is valid"),
            operator,
            threshold: Some(threshold),
            message,
            severity: Severity::default(),
            held_for: None,
            times: 1,
            clear_threshold: None,
            clear_times: 1,
            device_id: None,
            enabled: true,
        }
    }

    /// Serializes what identifies the rule: all members but message, severity and `enabled`. Rule ids
    /// are derived from it, so it must not change.
    pub(super) fn identity(&self) -> String {
        let judged = Self {
            message: String::new(),
            severity: Severity::default(),
            enabled: true,
            ..self.clone()
        };
        serde_json::to_string(&judged).expect("a rule is serializable")
    }

    /// Validates the rule and returns every fault with the name of its member.
    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut check = |holds: bool, member, reason: &dyn Fn() -> String| {
            if !holds {
                faults.push((member, reason()));
            }
        };
        let operator = self.operator.as_str();
        let fits = match (self.operator, &self.threshold) {
            (Operator::IsMissing, None)
            | (
                Operator::Above
                | Operator::Below
                | Operator::AtLeast
                | Operator::AtMost
                | Operator::Equal
                | Operator::NotEqual,
                Some(Threshold::Number(_)),
            )
            | (
                Operator::Equal | Operator::NotEqual,
                Some(Threshold::Text(_) | Threshold::Flag(_)),
            ) => true,
            (Operator::Between | Operator::Outside, Some(Threshold::Range([low, high]))) => {
                low <= high
            }
            _ => false,
        };
        check(fits, "threshold", &|| match self.operator {
            Operator::IsMissing => format!("`{operator}` has no threshold"),
            Operator::Between | Operator::Outside => {
                format!("`{operator}` needs `[low, high]`, the lower bound first")
            }
            Operator::Equal | Operator::NotEqual => {
                format!("`{operator}` needs a number, a text, or true or false")
            }
            Operator::Above | Operator::Below | Operator::AtLeast | Operator::AtMost => {
                format!("`{operator}` needs a number")
            }
        });
        if let Err(error) = crate::name::check(self.key.as_str()) {
            check(false, "key", &|| error.to_string());
        }
        if let Some(Threshold::Text(text)) = &self.threshold {
            let fits = text.chars().count() <= Self::MAX_TEXT && !text.contains('\0');
            check(fits, "threshold", &|| text_limit(Self::MAX_TEXT));
        }
        let fits = self.message.chars().count() <= Self::MAX_MESSAGE;
        check(fits && !self.message.contains('\0'), "message", &|| text_limit(Self::MAX_MESSAGE));
        check(self.held_for.is_none_or(|span| span.0 <= Self::MAX_FOR), "for", &|| {
            format!("at most {}", crate::Span(Self::MAX_FOR))
        });
        let times = 1..=Self::MAX_TIMES;
        for (member, number) in [("times", self.times), ("clear_times", self.clear_times)] {
            check(times.contains(&number), member, &|| format!("1 to {}", Self::MAX_TIMES));
        }
        if let Some(clear) = self.clear_threshold {
            let fits = match (self.operator.worse_direction(), &self.threshold) {
                (Some(order), Some(Threshold::Number(threshold))) => {
                    clear.partial_cmp(threshold) != Some(order)
                }
                _ => false,
            };
            check(fits, "clear_threshold", &|| {
                "only with `>`, `>=`, `<` and `<=`, and on the calm side of `threshold`".to_owned()
            });
        }
        if let Some(pattern) = &self.device_id {
            let fits = (1..=Self::MAX_PATTERN_BYTES).contains(&pattern.len())
                && pattern
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._:@-*".contains(&byte));
            check(fits, "device_id", &|| {
                let most = Self::MAX_PATTERN_BYTES;
                format!("1 to {most} letters, digits or . _ : @ -, and `*` for any of them")
            });
        }
        faults
    }
}

fn text_limit(most: usize) -> String {
    format!("at most {most} characters, and no NUL")
}

/// Events of the rules of a scope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The rules of a scope were replaced.
    RulesConfigured(Configured),
}

/// The data of `rules_configured`: the complete rules of a scope, not the difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// Id of the user; `None` for the default rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The rules.
    #[serde(flatten)]
    pub config: Config,
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

impl Event {
    /// Returns the event that makes `config` the rules of `scope`.
    pub fn configured(scope: &Scope, config: Config) -> Self {
        let user_id = match scope {
            Scope::Everybody => None,
            Scope::User(user_id) => Some(user_id.to_string()),
        };
        Self::RulesConfigured(Configured { user_id, config })
    }
}

/// The state of the rules of one scope.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rules {
    /// Current config; initially empty.
    pub config: Config,
}

/// Commands of rules.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Replaces the rules; does nothing if they are the same.
    Configure {
        /// User the rules belong to, or the default rules.
        scope: Scope,
        /// The new rules.
        config: Config,
    },
}

/// No command is refused: [`Config::parse`] validates the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match *self {}
    }

    fn code(&self) -> &'static str {
        match *self {}
    }
}

impl Decider for Rules {
    const CATEGORY: &'static str = RULES;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match command {
            Command::Configure { config, .. } if config == self.config => nothing(),
            Command::Configure { scope, config } => accept(Event::configured(&scope, config)),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match event {
            Event::RulesConfigured(configured) => Self { config: configured.config.clone() },
        }
    }
}
