//! Alerts: rules over readings, and what came of them.
//!
//! A **rule** says when a device's readings are wrong; a **config** is the rules of one user, or
//! those of everybody who has none more specific. A **watch** holds what the rules need to remember
//! of one device. An **alert** is raised once for a device and a rule, updated while it lasts, and
//! cleared when the condition ends; somebody may acknowledge it at any time.
//!
//! Watching is a fold of the log: readings and configs in, alerts out, with ids made of what led to
//! them. Whoever folds the same log finds the same alerts, to the letter; telling the log of one
//! again changes nothing. Alerts themselves are not looked at, so nobody has to wait for them.
//!
//! Streams: `rules-{user_id}` (`rules-~` for everybody), `alert-{alert_id}`.

mod key;
mod rule;
mod config;
mod reading;
mod effective_rules;
mod rule_state;
mod watch;
pub mod alert;
mod explanation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watch_proptest;

pub use alert::{Alert, ClearReason, Notice, Raised, alert_stream};
pub use config::{Command, Config, Configured, Fault, Rejection, Rules, Scope, rules_stream};
pub use effective_rules::EffectiveRule;
pub use explanation::{Step, explain};
pub use key::{InvalidKey, Key};
pub use reading::{FieldValue, READING, Reading};
pub use rule::{Operator, Rule, Severity, Threshold};
pub use watch::{Cause, Outcome, Watch};

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;
use eventsourcing::union;

pub const CONTEXT: Context = Context {
    name: "alerts",
    categories: &[config::CATEGORY, alert::CATEGORY],
    events: &[config::TYPES, alert::TYPES],
    deciders: &[AnyDecider::of::<Rules>(), AnyDecider::of::<Alert>()],
};

union! {
    /// Everything that happens in this context.
    pub enum Event { Rules(config::Event), Alert(alert::Event) }
}

pub use config::Event as RulesEvent;
