//! Documents: JSON objects stored with their original text, and the JSON Schemas that validate them.
//!
//! Streams: `document-{id}` holds one document, which never changes; `schema-{name}` holds the
//! versions of a schema. The write side validates a document before the decider records it; the event
//! names the schema version it was validated against.

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

pub use body::Body;

/// The context of documents and schemas.
pub const CONTEXT: Context = Context {
    name: "documents",
    categories: &[document::Document::CATEGORY, schema::Schema::CATEGORY],
    events: &[document::TYPES, schema::TYPES],
    deciders: &[AnyDecider::of::<document::Document>(), AnyDecider::of::<schema::Schema>()],
};

union! {
    /// Events of documents and schemas.
    pub enum Event {
        Document(document::Event),
        Schema(schema::Event),
    }
}

/// Returns the stream of a document.
pub fn document_stream(id: Uuid) -> StreamId {
    StreamId::new(document::Document::CATEGORY, id)
}

/// Returns the stream of a schema.
pub fn schema_stream(name: &SchemaName) -> StreamId {
    StreamId::new(schema::Schema::CATEGORY, name)
}

/// The name of a schema: 1 to [`Self::MAX_BYTES`] lower-case letters, digits, `.`, `_` or `-`. Parsing
/// applies the rule for [names](crate::name); deserializing, of stored names, does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "String")]
pub struct SchemaName(Box<str>);

impl SchemaName {
    /// Maximum length in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Parses a name.
    ///
    /// # Errors
    /// Returns an error if the text is empty, too long, or holds another character.
    pub fn parse(text: &str) -> Result<Self, InvalidSchemaName> {
        crate::name::check(text).map_err(|_dots_or_empty| InvalidSchemaName)?;
        Self::try_from(Box::from(text))
    }

    /// Returns the name.
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

/// The text is not the name of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a schema name is 1 to {} characters of a-z, 0-9 and . _ -, and not `.` or `..`",
    SchemaName::MAX_BYTES
)]
pub struct InvalidSchemaName;

/// A reference to one version of a schema. The version of a schema is the version of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchemaRef {
    /// Name of the schema.
    pub name: SchemaName,
    /// Version of the schema, counted from 1.
    pub version: u32,
}

#[cfg(test)]
mod tests;
