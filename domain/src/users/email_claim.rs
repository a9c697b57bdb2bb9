//! The claim of a user on an e-mail address. The key of the stream is a hash of the address, so the
//! owner of an address can be looked up without storing the address a second time.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::EmailAddress;
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[("email_claimed", 1)];

/// Returns the stream of an address.
pub fn stream(email: &EmailAddress) -> StreamId {
    StreamId::new(EmailClaim::CATEGORY, email.fingerprint())
}

/// Events of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A user registered with the address.
    EmailClaimed {
        /// Id of the user.
        user_id: Uuid,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Commands of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Claims the address; does nothing if the user has it already.
    Claim {
        /// Id of the user.
        user_id: Uuid,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Another user has the address.
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

/// The state of an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EmailClaim {
    /// No user has the address.
    #[default]
    Free,
    /// A user has the address.
    Taken {
        /// Id of the user.
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
