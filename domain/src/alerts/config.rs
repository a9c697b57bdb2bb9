//! The rules of one user, or of everybody: seed 003's `{"temperature_max", "rules"}`. Each change
//! of them is an event, and the stream's version is theirs.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::rule::{Operator, Rule, Severity, Threshold};
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, Decision, accept, nothing};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const CATEGORY: &str = "rules";

pub(super) const TYPES: &[(&str, i16)] = &[("rules_configured", 1)];

/// Whose rules they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Of everybody who has none more specific.
    Everybody,
    User(Box<str>),
}

impl Scope {
    /// Key of everybody's stream; no user id holds a `~`.
    const EVERYBODY: &'static str = "~";

    /// The scope of a stream of this category.
    pub fn of_stream(stream: &StreamId) -> Self {
        match stream.key() {
            Self::EVERYBODY => Self::Everybody,
            user_id => Self::User(user_id.into()),
        }
    }
}

/// The stream of the rules of `scope`.
pub fn rules_stream(scope: &Scope) -> StreamId {
    match scope {
        Scope::Everybody => StreamId::new(CATEGORY, Scope::EVERYBODY),
        Scope::User(user_id) => StreamId::new(CATEGORY, user_id),
    }
}

/// Rules as they are unparsed, kept and shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Short for a rule `temperature > …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_max: Option<f64>,
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// One thing that is wrong with a config, and where: a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub pointer: String,
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.pointer.is_empty() { "/" } else { &self.pointer }, self.reason)
    }
}

impl Config {
    /// Most rules in one config.
    pub const MAX_RULES: usize = 100;
    /// Largest config, in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Reads a config, and says everything that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<Fault>> {
        let fault = |pointer: String, reason: String| Fault { pointer, reason };
        let whole = |reason: String| vec![fault(String::new(), reason)];
        if bytes.len() > Self::MAX_BYTES {
            return Err(whole(format!("a config is at most {} bytes", Self::MAX_BYTES)));
        }
        // serde would read a list into a struct, member by member.
        let is_object = |text: &[u8]| text.trim_ascii_start().starts_with(b"{");
        if !is_object(bytes) {
            return Err(whole("must be an object".to_owned()));
        }
        let unparsed: UnparsedConfig =
            serde_json::from_slice(bytes).map_err(|error| whole(error.to_string()))?;
        if unparsed.rules.len() > Self::MAX_RULES {
            let reason = format!("at most {} rules", Self::MAX_RULES);
            return Err(vec![fault("/rules".into(), reason)]);
        }
        let (mut rules, mut faults) = (Vec::new(), Vec::new());
        for (index, rule) in unparsed.rules.iter().enumerate() {
            if !is_object(rule.get().as_bytes()) {
                faults.push(fault(format!("/rules/{index}"), "must be an object".to_owned()));
                continue;
            }
            match serde_json::from_str::<Rule>(rule.get()) {
                Ok(rule) => {
                    faults.extend(
                        rule.faults().into_iter().map(|(member, reason)| {
                            fault(format!("/rules/{index}/{member}"), reason)
                        }),
                    );
                    rules.push(rule);
                }
                Err(error) => faults.push(fault(format!("/rules/{index}"), error.to_string())),
            }
        }
        let config = Self { temperature_max: unparsed.temperature_max, rules };
        if faults.is_empty() {
            faults.extend(config.duplicates().map(|(index, first)| {
                let reason = format!("judges the same as the rule at /rules/{first}");
                fault(format!("/rules/{index}"), reason)
            }));
        }
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    /// Every rule, `temperature_max` among them.
    pub fn all(&self) -> impl Iterator<Item = Rule> + '_ {
        let shorthand = self.temperature_max.map(|max| {
            let message = format!("Temperature above {max}");
            Rule::new("temperature", Operator::Above, Threshold::Number(max), message)
        });
        shorthand.into_iter().chain(self.rules.iter().cloned())
    }

    /// Rules that judge just what another does, each with the index of that one.
    fn duplicates(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut first: HashMap<String, usize> = HashMap::new();
        self.rules.iter().enumerate().filter_map(move |(index, rule)| {
            let known = *first.entry(rule.identity()).or_insert(index);
            (known != index).then_some((index, known))
        })
    }
}

/// A config with its rules unread, so that each is answered for on its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnparsedConfig {
    #[serde(default)]
    temperature_max: Option<f64>,
    #[serde(default)]
    rules: Vec<Box<RawValue>>,
}

impl Rule {
    /// A rule with nothing but seed 003's four members.
    pub fn new(key: &str, operator: Operator, threshold: Threshold, message: String) -> Self {
        Self {
            key: super::Key::parse(key).expect("the caller knows the key"),
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

    /// What makes it the rule it is: all but what people are told and how loud.
    pub(super) fn identity(&self) -> String {
        let judged = Self {
            message: String::new(),
            severity: Severity::default(),
            enabled: true,
            ..self.clone()
        };
        serde_json::to_string(&judged).expect("a rule is always JSON")
    }

    /// What is wrong with it: the member, and why.
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
            Operator::IsMissing => format!("`{operator}` is compared with nothing"),
            Operator::Between | Operator::Outside => {
                format!("`{operator}` needs `[low, high]`, the lower bound first")
            }
            Operator::Equal | Operator::NotEqual => {
                format!("`{operator}` needs a number, a text, or true or false")
            }
            _ => format!("`{operator}` needs a number"),
        });
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

/// Somebody's rules changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    RulesConfigured(Configured),
}

/// The rules as they are from here on; all of them, not what changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// Whose they are; everybody's if nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(flatten)]
    pub config: Config,
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

impl Event {
    /// The rules of `scope` are `config` now.
    pub fn configured(scope: &Scope, config: Config) -> Self {
        let user_id = match scope {
            Scope::Everybody => None,
            Scope::User(user_id) => Some(user_id.to_string()),
        };
        Self::RulesConfigured(Configured { user_id, config })
    }
}

/// The rules of one scope, as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rules {
    pub config: Config,
}

/// What can be asked of rules.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Configure { scope: Scope, config: Config },
}

/// Nothing that can be read as a config is refused.
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
    const CATEGORY: &'static str = CATEGORY;
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
