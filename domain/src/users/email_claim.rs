//! Whose an e-mail address is. The stream's key is a hash of the address, so that the log can be
//! asked who has it without the address standing in the log once more.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::EmailAddress;
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[("email_claimed", 1)];

/// The stream of one address.
pub fn stream(email: &EmailAddress) -> StreamId {
    StreamId::new(EmailClaim::CATEGORY, email.fingerprint())
}

/// What happened to an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A user registered with it.
    EmailClaimed { user_id: Uuid },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Claim { user_id: Uuid },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("a user with this e-mail address is registered")]
    Taken,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::Taken => Kind::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Taken => "email_taken",
        }
    }

    fn pointer(&self) -> Option<String> {
        Some("/email".into())
    }
}

/// An address as its history leaves it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EmailClaim {
    #[default]
    Free,
    Taken {
        by: Uuid,
    },
}

impl Decider for EmailClaim {
    const CATEGORY: &'static str = "email";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Claim { user_id }, Self::Free) => accept(Event::EmailClaimed { user_id }),
            (Command::Claim { user_id }, Self::Taken { by }) if user_id == *by => nothing(),
            (Command::Claim { .. }, Self::Taken { .. }) => reject(Rejection::Taken),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match event {
            Event::EmailClaimed { user_id } => Self::Taken { by: *user_id },
        }
    }
}
