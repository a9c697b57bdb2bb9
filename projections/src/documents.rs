//! Documents, by owner or of everybody, and the versions of schemas.

use chrono::{DateTime, Utc};
use domain::documents::document::Document;
use domain::documents::schema::Schema;
use domain::documents::{Body, Event, SchemaRef, document, schema};
use eventsourcing::{Decider, Recorded};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::columns::Columns;
use crate::list::{CREATED, Key, Page, Section};
use crate::projection::Projection;

/// A page of documents ends with the document that brings it to this many bytes.
pub const PAGE_BYTES: u32 = 4 * 1024 * 1024;

/// The read model of documents.
#[derive(Debug)]
pub struct Documents;

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub struct Changes {
    documents: Vec<Row>,
    schemas: Vec<NewSchema>,
}

#[derive(Debug)]
struct NewSchema {
    name: String,
    version: u32,
    schema: Body,
    created_at: DateTime<Utc>,
}

impl Projection for Documents {
    const NAME: &'static str = "documents";
    const CATEGORIES: &'static [&'static str] = &[Document::CATEGORY, Schema::CATEGORY];
    const DDL: &'static str = include_str!("documents.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        match event.event {
            Event::Document(document::Event::DocumentRecorded {
                owner_id,
                created_at,
                schema,
                data,
            }) => {
                // Keys of this category are ids: the decider's streams are named that way only.
                if let Ok(id) = Uuid::parse_str(event.stream.key()) {
                    let row = Row::recorded(id, owner_id, schema.as_ref(), data, created_at);
                    changes.documents.push(row);
                }
            }
            Event::Schema(schema::Event::SchemaRegistered { version, created_at, schema }) => {
                let name = event.stream.key().to_owned();
                changes.schemas.push(NewSchema { name, version, schema, created_at });
            }
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        Columns::of(&changes.documents)
            .column("id", |row| row.id)
            .column("owner_id", |row| row.owner_id)
            .column("schema_name", |row| row.schema.as_ref().map(|schema| schema.name.as_str()))
            .column("schema_version", |row| row.schema.as_ref().map(|schema| schema.version))
            .cast("data", "json", |row| row.data.as_str())
            .column("created_at", |row| row.created_at)
            .insert("document", "", connection)
            .await?;
        Columns::of(&changes.schemas)
            .column("name", |row| row.name.as_str())
            .column("version", |row| i64::from(row.version))
            .cast("schema", "json", |row| row.schema.as_str())
            .column("created_at", |row| row.created_at)
            .insert("schema", "", connection)
            .await
    }
}

/// A document.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Document)]
pub struct Row {
    /// Id of the document.
    pub id: Uuid,
    /// User who sent the document.
    pub owner_id: Uuid,
    /// The document byte for byte as it was sent.
    #[schema(value_type = Object)]
    pub data: Body,
    /// The schema version the document was validated against; null if it was not validated.
    pub schema: Option<SchemaVersion>,
    /// Time of receipt.
    pub created_at: DateTime<Utc>,
}

impl Row {
    /// A document as it was recorded, which never changes.
    pub fn recorded(
        id: Uuid,
        owner_id: Uuid,
        schema: Option<&SchemaRef>,
        data: Body,
        created_at: DateTime<Utc>,
    ) -> Self {
        let schema = schema.map(|schema| SchemaVersion {
            name: schema.name.to_string(),
            version: schema.version.into(),
        });
        Self { id, owner_id, data, schema, created_at }
    }
}

/// A version of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Against)]
pub struct SchemaVersion {
    /// Name of the schema.
    pub name: String,
    /// Counts from 1.
    pub version: i64,
}

impl FromRow<'_, PgRow> for Row {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let name: Option<String> = row.try_get("schema_name")?;
        let version: Option<i64> = row.try_get("schema_version")?;
        let Json(data) = row.try_get("data")?;
        Ok(Self {
            id: row.try_get("id")?,
            owner_id: row.try_get("owner_id")?,
            data,
            schema: name.zip(version).map(|(name, version)| SchemaVersion { name, version }),
            created_at: row.try_get("created_at")?,
        })
    }
}

/// A registered version of a schema.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
#[schema(as = RegisteredSchema)]
pub struct SchemaRow {
    /// Name of the schema.
    pub name: String,
    /// Counts from 1.
    pub version: i64,
    /// The JSON Schema byte for byte as it was sent.
    #[sqlx(json)]
    #[schema(value_type = Object)]
    pub schema: Box<RawValue>,
    /// Time of receipt.
    pub created_at: DateTime<Utc>,
}

/// Returns the document of this id; only if `owner` owns it, if an owner is given.
pub async fn get(pool: &PgPool, id: Uuid, owner: Option<Uuid>) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(
        "select * from documents.document
         where id = $1 and ($2::uuid is null or owner_id = $2)",
    )
    .bind(id)
    .bind(owner)
    .fetch_optional(pool)
    .await
}

/// Lists documents of `owner`, or of everybody, newest first, after the cursor `after`: time of
/// creation and id of the last one seen. Returns fewer than `limit` once they hold [`PAGE_BYTES`].
pub async fn list(
    pool: &PgPool,
    owner: Option<Uuid>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "with page as (
           select *, sum(octet_length(data::text)) over (order by created_at desc, id desc) as bytes
           from (select * from documents.document where true",
    );
    let section = Section::default().by_some("owner_id", owner.map(Key::Uuid));
    section.newest_first(&mut query, CREATED, &Page { after, limit, ..Page::default() });
    query.push(") newest) select * from page where bytes - octet_length(data::text) < ");
    query.push_bind(i64::from(PAGE_BYTES)).push(" order by created_at desc, id desc");
    query.build_query_as().fetch_all(pool).await
}

/// Returns a version of a schema; the latest if `version` is `None`.
pub async fn schema(
    pool: &PgPool,
    name: &str,
    version: Option<i64>,
) -> Result<Option<SchemaRow>, sqlx::Error> {
    let mut query = QueryBuilder::new("select * from documents.schema where name = ");
    query.push_bind(name);
    if let Some(version) = version {
        query.push(" and version = ").push_bind(version);
    }
    query.push(" order by version desc limit 1");
    query.build_query_as().fetch_optional(pool).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fold, golden};
    use domain::documents::document_stream;
    use eventsourcing::StreamId;

    #[test]
    fn a_document_is_a_row_with_its_schema() {
        let id = Uuid::from_u128(1);
        let event: document::Event = golden("documents", "document_recorded");
        let document::Event::DocumentRecorded { owner_id, created_at, schema, data } =
            event.clone();
        let changes = fold::<Documents>([(document_stream(id), Event::Document(event))]);
        assert_eq!(changes.documents.len(), 1);
        let row = &changes.documents[0];
        assert_eq!((row.id, row.owner_id, row.created_at), (id, owner_id, created_at));
        assert_eq!(row.data, data);
        let name = row.schema.as_ref().map(|schema| schema.name.clone());
        assert_eq!(name, schema.map(|schema| schema.name.to_string()));
    }

    #[test]
    fn a_schema_is_named_by_its_stream() {
        let event: schema::Event = golden("documents", "schema_registered");
        let stream = StreamId::new(Schema::CATEGORY, "invoice");
        let changes = fold::<Documents>([(stream, Event::Schema(event))]);
        assert_eq!(changes.schemas[0].name, "invoice");
        assert!(changes.documents.is_empty());
    }
}
