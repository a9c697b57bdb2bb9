//! Documents: any JSON object, kept to the letter, and the JSON Schemas it may be held against.
//!
//! Streams: `document-{id}` holds one document, which never changes; `schema-{name}` the versions
//! of a schema. Whether a document is valid is found out beside the decider; what it was valid
//! against stands in its event.

mod body;
pub mod document;
pub mod schema;

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;
use eventsourcing::decider::Decider;
use eventsourcing::event::StreamId;
use eventsourcing::union;

pub use body::{Body, InvalidBody};

pub const CONTEXT: Context = Context {
    name: "documents",
    categories: &[document::Document::CATEGORY, schema::Schema::CATEGORY],
    events: &[document::TYPES, schema::TYPES],
    deciders: &[AnyDecider::of::<document::Document>(), AnyDecider::of::<schema::Schema>()],
};

union! {
    /// What happened to documents and to their schemas.
    pub enum Event {
        Document(document::Event),
        Schema(schema::Event),
    }
}

/// The stream of one document.
pub fn document_stream(id: Uuid) -> StreamId {
    StreamId::new(document::Document::CATEGORY, id)
}

/// The stream of one schema.
pub fn schema_stream(name: &SchemaName) -> StreamId {
    StreamId::new(schema::Schema::CATEGORY, name)
}

/// What a schema is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "String")]
pub struct SchemaName(Box<str>);

impl SchemaName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    pub fn parse(text: &str) -> Result<Self, InvalidSchemaName> {
        Self::try_from(Box::from(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Box<str>> for SchemaName {
    type Error = InvalidSchemaName;

    fn try_from(text: Box<str>) -> Result<Self, InvalidSchemaName> {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        let fits = (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(plain);
        if fits { Ok(Self(text)) } else { Err(InvalidSchemaName) }
    }
}

impl From<SchemaName> for String {
    fn from(name: SchemaName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a schema is 1 to {} of a-z, 0-9 and . _ -", SchemaName::MAX_BYTES)]
pub struct InvalidSchemaName;

/// One version of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchemaRef {
    pub name: SchemaName,
    /// Counted from 1.
    pub version: u32,
}

#[cfg(test)]
mod tests;
