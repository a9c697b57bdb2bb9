//! Alerts: rules over readings, and the alerts they raise.
//!
//! A **rule** is a condition on the readings of a device. A **config** holds the rules of one user, or
//! the default rules that apply to all users. A **watch** is the state of the rules of one device. An
//! **alert** is raised once for a device and a rule, updated while the condition lasts and gets worse,
//! and cleared when it ends; a user may acknowledge it at any time. How many alerts a rule raises and
//! updates for a device is bounded in time; one event records that the bound was reached.
//!
//! Evaluation is a fold of the log: readings and configs in, alert events out, with ids derived from
//! the events they follow from. Every fold of the same log yields the same events, so appending them
//! again is a duplicate. The fold does not read alerts, so it never waits for its own output.
//!
//! Streams: `rules-{user_id}` (`rules-~` for the default rules), `alert-{alert_id}`.

mod rule;
mod config;
mod reading;
mod effective_rules;
mod cause;
mod rule_state;
mod watch;
pub mod alert;
pub mod published;
mod explanation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod suppression_tests;
#[cfg(test)]
mod watch_proptest;

pub use alert::{Alert, ClearReason, Notice, Raised};
pub use cause::Cause;
pub use config::{Command, Config, Configured, Event as RulesEvent, Fault, Rejection, Rules};
pub use effective_rules::EffectiveRule;
pub use explanation::{Step, explain};
pub use published::{Scope, alert_stream, rules_stream};
pub use reading::{FieldValue, READING, Reading};
pub use rule::{Operator, Rule, Severity, Threshold};
pub use watch::{Outcome, Watch};

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;
use eventsourcing::union;

/// The context of alerts and their rules.
pub const CONTEXT: Context = Context {
    name: "alerts",
    categories: &[published::RULES, published::ALERT],
    events: &[config::TYPES, alert::TYPES],
    deciders: &[AnyDecider::of::<Rules>(), AnyDecider::of::<Alert>()],
};

union! {
    /// Events of rules and alerts.
    pub enum Event { Rules(config::Event), Alert(alert::Event) }
}
