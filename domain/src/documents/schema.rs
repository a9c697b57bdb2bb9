//! A named JSON Schema. Registering a different text creates the next version; documents keep the
//! version they were validated against.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Body;
use eventsourcing::decider::{Decider, Decision, accept, nothing};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[("schema_registered", 1)];

/// Events of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A version was registered. The write side has checked that the text is a JSON Schema.
    SchemaRegistered {
        /// Version, counted from 1.
        version: u32,
        /// Time of receipt by the clock of the gateway.
        created_at: DateTime<Utc>,
        /// The JSON Schema.
        schema: Body,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Commands of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Registers the next version; does nothing if the text equals the latest version.
    Register {
        /// Time of receipt.
        created_at: DateTime<Utc>,
        /// The JSON Schema.
        schema: Body,
    },
}

/// No command is refused: the write side checks the schema before it sends the command.
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

/// The state of a schema.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// No version is registered.
    #[default]
    Unregistered,
    /// At least one version is registered.
    Registered {
        /// Latest version, counted from 1.
        version: u32,
        /// JSON Schema of the latest version.
        schema: Body,
    },
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
