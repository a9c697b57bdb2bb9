//! Schemas of documents: register one under a name, and show its versions.

use chrono::{DateTime, Utc};
use domain::documents::schema::Command;
use domain::documents::{Body, SchemaName};
use eventsourcing::Version;
use projections::documents::{self, Documents, SchemaRow};

use super::super::clock::now;
use super::super::extract::RawJson;
use super::super::prelude::*;
use super::body;

/// Largest schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// Attempts at a registration that conflicts with other registrations.
const ATTEMPTS: usize = 5;

/// Register a schema
///
/// For operators. A JSON Schema of at most 64 KiB, draft 2020-12 or the draft in `$schema`. It may
/// refer to itself and to the standard meta-schemas; no references are fetched. Its numbers are those that
/// a 64-bit integer or a double holds with all their digits. A different schema
/// under a known name becomes its next version; the same schema changes nothing. Documents are
/// validated against the latest version.
#[utoipa::path(
    put, path = "/api/v1/schemas/{name}", tag = tags::DOCUMENTS,
    params(("name" = String, Path, description = "1 to 64 of a-z, 0-9 and . _ -",
        min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]+$"), CommandHeaders),
    request_body = HashMap<String, Value>,
    responses((status = 201, description = "The first version is registered", body = SchemaRow),
        (status = 204, description = "The schema is registered; `ETag` is its version"),
        (status = 422, description = "The body is not a JSON Schema (`invalid_schema`, with a pointer for each fault)")),
)]
pub(super) async fn register(
    _operator: Operator,
    context: CommandContext,
    Path(name): Path<String>,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    let name = SchemaName::parse(&name);
    let name = name.map_err(|error| Problem::parameter("name", error.to_string()))?;
    let schema = body::parse(&bytes, MAX_SCHEMA_BYTES)?;
    context.api.handlers.schemas.check(&schema).await?;
    for _ in 0..ATTEMPTS {
        // The response depends on the version and is stored with the command: it must be this one.
        let known = context.api.handlers.schemas.version(&name).await?;
        let created_at = now();
        let response = response(&name, &schema, known, created_at)?;
        let mut envelope = context.envelope(&response)?;
        envelope.expected = Some(context.if_match.versions().unwrap_or_else(|| vec![known]));
        let command = Command::Register { created_at, schema: schema.clone() };
        match context.api.handlers.schemas.register(&name, command, envelope).await {
            Err(commands::Error::OtherVersion { .. }) if !context.if_match.is_given() => {}
            Err(error) => return Err(error.into()),
            Ok(done) => return context.respond(Documents::NAME, response, &done).await,
        }
    }
    let detail = "other requests keep registering this schema; retry later";
    Err(Problem::unavailable("contention", detail))
}

/// 201 with the row for the first version, 204 for later ones.
fn response(
    name: &SchemaName,
    schema: &Body,
    known: Version,
    created_at: DateTime<Utc>,
) -> Result<StoredResponse, Problem> {
    let location = format!("/api/v1/schemas/{name}");
    if known > Version::NONE {
        return StoredResponse::no_content(location);
    }
    let name = name.to_string();
    let row = SchemaRow { name, version: 1, schema: body::raw(schema)?, created_at };
    StoredResponse::new(StatusCode::CREATED, location, Version(1), &row)
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VersionQuery {
    /// The version (default the latest).
    #[param(minimum = 1)]
    version: Option<u32>,
}

/// Show a schema
#[utoipa::path(
    get, path = "/api/v1/schemas/{name}", tag = tags::DOCUMENTS,
    params(("name" = String, Path, min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]+$"),
        VersionQuery, QueryHeaders),
    responses((status = 200, description = "The schema; `ETag` is its version", body = SchemaRow)),
)]
pub(super) async fn get(
    context: QueryContext,
    Path(name): Path<SchemaName>,
    Query(query): Query<VersionQuery>,
) -> Result<Response, Problem> {
    let version = query.version.map(i64::from);
    let row = documents::schema(context.pool(), name.as_str(), version);
    context.show(Documents::NAME, "schema", row, |row| Some(row.version)).await
}
