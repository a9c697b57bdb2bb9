//! What alerts are named by: state, severity, and why they were cleared.

use domain::alerts::{ClearReason, Severity};

use crate::by_name::{ByName, Named};

/// State of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The condition holds.
    Active,
    /// The condition ended.
    Cleared,
}

impl Named for State {
    const SCHEMA: &'static str = "AlertState";
    const ALL: &'static [Self] = &[Self::Active, Self::Cleared];

    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cleared => "cleared",
        }
    }
}

/// A [`State`] in a row.
pub type StateName = ByName<State>;

impl Named for Severity {
    const SCHEMA: &'static str = "AlertSeverity";
    /// Worst first.
    const ALL: &'static [Self] =
        &[Self::Critical, Self::Major, Self::Minor, Self::Warning, Self::Info];

    fn name(self) -> &'static str {
        self.as_str()
    }
}

/// A [`Severity`] in a row.
pub type SeverityName = ByName<Severity>;

impl Named for ClearReason {
    const SCHEMA: &'static str = "AlertClearedBecause";
    const ALL: &'static [Self] = &[Self::Recovered, Self::RuleChanged];

    fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::RuleChanged => "rule_changed",
        }
    }
}

/// Why an alert was cleared, in a row.
pub type ClearedName = ByName<ClearReason>;
