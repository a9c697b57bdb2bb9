//! A document: recorded once, and never changed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Body, SchemaRef};
use eventsourcing::decider::{Decider, Decision, accept, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[("document_recorded", 1)];

/// What happened to a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Somebody handed it in.
    DocumentRecorded {
        owner_id: Uuid,
        /// When it was handed in, by the clock of the process that took it.
        created_at: DateTime<Utc>,
        /// What it was found valid against, if it was held against anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema: Option<SchemaRef>,
        data: Body,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Record { owner_id: Uuid, created_at: DateTime<Utc>, schema: Option<SchemaRef>, data: Body },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is a document with this id")]
    AlreadyRecorded,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::AlreadyRecorded => Kind::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyRecorded => "document_already_recorded",
        }
    }
}

/// A document. What it says is not needed to decide anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    #[default]
    Unrecorded,
    Recorded,
}

impl Decider for Document {
    const CATEGORY: &'static str = "document";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Record { owner_id, created_at, schema, data }, Self::Unrecorded) => {
                accept(Event::DocumentRecorded { owner_id, created_at, schema, data })
            }
            (Command::Record { .. }, Self::Recorded) => reject(Rejection::AlreadyRecorded),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match event {
            Event::DocumentRecorded { .. } => Self::Recorded,
        }
    }
}
