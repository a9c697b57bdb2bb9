//! A JSON Schema under a name. Registering another text makes the next version; documents keep
//! the version they were held against.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Body;
use eventsourcing::decider::{Decider, Decision, accept, nothing};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[("schema_registered", 1)];

/// What happened to a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A version of it was registered, having been found to be a schema.
    SchemaRegistered {
        /// Counted from 1.
        version: u32,
        /// When, by the clock of the process that took it.
        created_at: DateTime<Utc>,
        schema: Body,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Register { created_at: DateTime<Utc>, schema: Body },
}

/// Nothing is refused here: whether a text is a schema is found out beforehand.
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

/// A schema as its history leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    #[default]
    Unregistered,
    /// Its latest version.
    Registered { version: u32, schema: Body },
}

impl Decider for Schema {
    const CATEGORY: &'static str = "schema";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Register { created_at, schema }, Self::Unregistered) => {
                accept(Event::SchemaRegistered { version: 1, created_at, schema })
            }
            (Command::Register { schema, .. }, Self::Registered { schema: known, .. })
                if schema == *known =>
            {
                nothing()
            }
            (Command::Register { created_at, schema }, Self::Registered { version, .. }) => {
                let version = version.saturating_add(1);
                accept(Event::SchemaRegistered { version, created_at, schema })
            }
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match event {
            Event::SchemaRegistered { version, schema, .. } => {
                Self::Registered { version: *version, schema: schema.clone() }
            }
        }
    }
}
