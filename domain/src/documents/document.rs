//! A document: recorded once, never changed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Body, SchemaRef};
use eventsourcing::decider::{Decider, Decision, accept, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[("document_recorded", 1)];

/// Events of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A user submitted a document.
    DocumentRecorded {
        /// Id of the user who submitted it.
        owner_id: Uuid,
        /// Time of receipt by the clock of the gateway.
        created_at: DateTime<Utc>,
        /// Schema version it was validated against; `None` if it was not validated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema: Option<SchemaRef>,
        /// The document.
        data: Body,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Commands of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Records a document, which the caller has validated against `schema`.
    Record {
        /// Id of the user who submits it.
        owner_id: Uuid,
        /// Time of receipt.
        created_at: DateTime<Utc>,
        /// Schema version it was validated against; `None` if it was not validated.
        schema: Option<SchemaRef>,
        /// The document.
        data: Body,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The document is recorded already.
    #[error("a document with this id exists already")]
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

/// The state of a document. No decision depends on its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Document {
    /// The document does not exist yet.
    #[default]
    Unrecorded,
    /// The document is recorded.
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
