//! The published part of alerts: the categories, event types and stream ids that other contexts may
//! match or build.

use eventsourcing::StreamId;
use uuid::Uuid;

/// Category of the streams of alerts.
pub const ALERT: &str = "alert";
/// Category of the streams of rules.
pub const RULES: &str = "rules";
/// Event type of a change of rules.
pub const RULES_CONFIGURED: &str = "rules_configured";

/// The scope of a config: one user, or all users.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The default rules, which apply to users without more specific ones.
    Everybody,
    /// The rules of the user with this id.
    User(Box<str>),
}

impl Scope {
    /// Key of the stream of the default rules. No user id contains a `~`.
    const EVERYBODY: &'static str = "~";

    /// Returns the scope of a stream of rules.
    pub fn of_stream(stream: &StreamId) -> Self {
        match stream.key() {
            Self::EVERYBODY => Self::Everybody,
            user_id => Self::User(user_id.into()),
        }
    }
}

/// Returns the stream of the rules of `scope`.
pub fn rules_stream(scope: &Scope) -> StreamId {
    match scope {
        Scope::Everybody => StreamId::new(RULES, Scope::EVERYBODY),
        Scope::User(user_id) => StreamId::new(RULES, user_id),
    }
}

/// Returns the stream of an alert.
pub fn alert_stream(id: Uuid) -> StreamId {
    StreamId::new(ALERT, id)
}
