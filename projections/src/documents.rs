//! Documents as they are asked for, one's own or everybody's, and the versions of schemas.

use chrono::{DateTime, Utc};
use domain::documents::document::Document;
use domain::documents::schema::Schema;
use domain::documents::{Body, Event, SchemaRef, document, schema};
use eventsourcing::{Decider, Recorded};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, PgPool, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::projection::Projection;

/// A page of documents ends once it holds this many bytes of them.
pub const PAGE_BYTES: u32 = 4 * 1024 * 1024;

/// The read model of documents.
#[derive(Debug)]
pub struct Documents;

/// What a batch of events comes to.
#[derive(Debug, Default)]
pub struct Changes {
    documents: Vec<NewDocument>,
    schemas: Vec<NewSchema>,
}

#[derive(Debug)]
struct NewDocument {
    id: Uuid,
    owner_id: Uuid,
    schema: Option<SchemaRef>,
    data: Body,
    created_at: DateTime<Utc>,
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
        match &event.event {
            Event::Document(document::Event::DocumentRecorded {
                owner_id,
                created_at,
                schema,
                data,
            }) => {
                // The store gives a document's stream no other key.
                if let Ok(id) = Uuid::parse_str(event.stream.key()) {
                    let (owner_id, created_at) = (*owner_id, *created_at);
                    let (schema, data) = (schema.clone(), data.clone());
                    changes.documents.push(NewDocument { id, owner_id, schema, data, created_at });
                }
            }
            Event::Schema(schema::Event::SchemaRegistered { version, created_at, schema }) => {
                changes.schemas.push(NewSchema {
                    name: event.stream.key().to_owned(),
                    version: *version,
                    schema: schema.clone(),
                    created_at: *created_at,
                });
            }
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !changes.documents.is_empty() {
            insert_documents(&changes.documents, connection).await?;
        }
        if !changes.schemas.is_empty() {
            insert_schemas(&changes.schemas, connection).await?;
        }
        Ok(())
    }
}

async fn insert_documents(
    documents: &[NewDocument],
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    fn column<'a, T>(rows: &'a [NewDocument], of: impl Fn(&'a NewDocument) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let name = |row: &NewDocument| row.schema.as_ref().map(|schema| schema.name.to_string());
    sqlx::query(
        "insert into document (id, owner_id, schema_name, schema_version, data, created_at)
         select id, owner_id, schema_name, schema_version, data::json, created_at
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[],
                     $6::timestamptz[])
           as n (id, owner_id, schema_name, schema_version, data, created_at)",
    )
    .bind(column(documents, |row| row.id))
    .bind(column(documents, |row| row.owner_id))
    .bind(column(documents, name))
    .bind(column(documents, |row| row.schema.as_ref().map(|schema| i64::from(schema.version))))
    .bind(column(documents, |row| row.data.as_str()))
    .bind(column(documents, |row| row.created_at))
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_schemas(
    schemas: &[NewSchema],
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into schema (name, version, schema, created_at)
         select name, version, schema::json, created_at
         from unnest($1::text[], $2::bigint[], $3::text[], $4::timestamptz[])
           as n (name, version, schema, created_at)",
    )
    .bind(schemas.iter().map(|row| row.name.as_str()).collect::<Vec<_>>())
    .bind(schemas.iter().map(|row| i64::from(row.version)).collect::<Vec<_>>())
    .bind(schemas.iter().map(|row| row.schema.as_str()).collect::<Vec<_>>())
    .bind(schemas.iter().map(|row| row.created_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A document.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Document)]
pub struct Row {
    pub id: Uuid,
    pub owner_id: Uuid,
    /// What was handed in, to the letter.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
    /// What it was found valid against; null if it was held against nothing.
    pub schema: Option<SchemaVersion>,
    pub created_at: DateTime<Utc>,
}

/// A version of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Against)]
pub struct SchemaVersion {
    pub name: String,
    /// Counted from 1.
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
    pub name: String,
    /// Counted from 1.
    pub version: i64,
    /// The JSON Schema, to the letter.
    #[sqlx(json)]
    #[schema(value_type = Object)]
    pub schema: Box<RawValue>,
    pub created_at: DateTime<Utc>,
}

/// One document; only if it is of `owner`, if one is given.
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

/// Documents of `owner`, or of everybody, newest first, after the one that was created at `after`
/// and has that id. Fewer than `limit` once they hold [`PAGE_BYTES`].
pub async fn list(
    pool: &PgPool,
    owner: Option<Uuid>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "with page as (
           select *, sum(octet_length(data::text)) over (order by created_at desc, id desc) as bytes
           from (
             select * from documents.document
             where ($1::uuid is null or owner_id = $1)
               and ($2::timestamptz is null or (created_at, id) < ($2, $3))
             order by created_at desc, id desc limit $4
           ) newest
         )
         select * from page where bytes - octet_length(data::text) < $5
         order by created_at desc, id desc",
    )
    .bind(owner)
    .bind(after.map(|(created_at, _)| created_at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .bind(i64::from(PAGE_BYTES))
    .fetch_all(pool)
    .await
}

/// A version of a schema; the latest if none is named.
pub async fn schema(
    pool: &PgPool,
    name: &str,
    version: Option<i64>,
) -> Result<Option<SchemaRow>, sqlx::Error> {
    sqlx::query_as(
        "select * from documents.schema
         where name = $1 and ($2::bigint is null or version = $2)
         order by version desc limit 1",
    )
    .bind(name)
    .bind(version)
    .fetch_optional(pool)
    .await
}
