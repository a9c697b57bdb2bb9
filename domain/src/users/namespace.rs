//! Device namespaces. Devices belong to a name, as in the MQTT topic `users/ada/…`; a registered user has
//! an id. An administrator gives a user a namespace, and its devices, rules and alerts are that user's.
//!
//! Only administrators give one: the holder of a namespace reads what its devices send, so a user who could
//! claim any free name would claim that of the devices of another person.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::telemetry::published::{InvalidId, UserId};
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[("namespace_claimed", 1), ("namespace_released", 1)];

/// The name of a device namespace: the user id of its devices, except those that are ids of registered
/// users, whose devices are theirs already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "String")]
pub struct Namespace(UserId);

impl Namespace {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<Box<str>> for Namespace {
    type Error = InvalidNamespace;

    fn try_from(text: Box<str>) -> Result<Self, InvalidNamespace> {
        if Uuid::try_parse(&text).is_ok() {
            return Err(InvalidNamespace::Uuid);
        }
        Ok(Self(UserId::try_from(text)?))
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.0.into()
    }
}

/// The text is not the name of a device namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNamespace {
    /// A user id of devices has another form.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The name could be the id of another user.
    #[error("a namespace must not be a UUID: those are the ids of users")]
    Uuid,
}

/// Returns the stream of a namespace.
pub fn stream(namespace: &Namespace) -> StreamId {
    StreamId::new(NamespaceClaim::CATEGORY, namespace.as_str())
}

/// Events of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The namespace was given to a user.
    NamespaceClaimed {
        /// Id of the user.
        user_id: Uuid,
    },
    /// The namespace was taken from its user and is free.
    NamespaceReleased {
        /// Id of the user who had it.
        user_id: Uuid,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Commands of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Gives it to a user; does nothing if the user has it already.
    Claim {
        /// Id of the user.
        user_id: Uuid,
    },
    /// Takes it from its user; does nothing if another user has it, or none.
    Release {
        /// Id of the user.
        user_id: Uuid,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Another user has the namespace.
    #[error("another user has this namespace")]
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
            Self::Taken => "namespace_taken",
        }
    }

    fn pointer(&self) -> Option<String> {
        Some("/namespace".into())
    }
}

/// The state of a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceClaim {
    /// No user has the namespace.
    #[default]
    Free,
    /// A user has the namespace.
    Taken {
        /// Id of the user.
        by: Uuid,
    },
}

impl Decider for NamespaceClaim {
    const CATEGORY: &'static str = "namespace";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Claim { user_id }, Self::Free) => accept(Event::NamespaceClaimed { user_id }),
            (Command::Claim { user_id }, Self::Taken { by }) if user_id == *by => nothing(),
            (Command::Claim { .. }, Self::Taken { .. }) => reject(Rejection::Taken),
            (Command::Release { user_id }, Self::Taken { by }) if user_id == *by => {
                accept(Event::NamespaceReleased { user_id })
            }
            (Command::Release { .. }, Self::Free | Self::Taken { .. }) => nothing(),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match event {
            Event::NamespaceClaimed { user_id } => Self::Taken { by: *user_id },
            Event::NamespaceReleased { .. } => Self::Free,
        }
    }
}
