//! Schemas over HTTP: register one under a name, look at its versions.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::documents::schema::Command;
use domain::documents::{Body, SchemaName};
use eventsourcing::Version;
use projections::documents::{self, SchemaRow};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use super::super::caller::Operator;
use super::super::extract::{Path, Query, RawJson};
use super::super::page;
use super::super::problem::Problem;
use super::super::receipt::{Answer, Asked, CommandHeaders};
use super::super::wait::{self, QueryHeaders};
use super::super::{Api, tags};
use super::{PROJECTION, body, now};

/// Largest schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// How often a registration is tried anew because another came in between.
const ATTEMPTS: usize = 5;

/// Register a schema
///
/// A JSON Schema of at most 64 KiB: draft 2020-12, or another that `$schema` names. It may refer to
/// itself and to the standard's own schemas; nothing is fetched. Another text under a known name is
/// its next version; the same text changes nothing. Documents are held against the latest.
#[utoipa::path(
    put, path = "/api/v1/schemas/{name}", tag = tags::DOCUMENTS,
    params(("name" = String, Path, description = "1 to 64 of a-z, 0-9 and . _ -",
        min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]+$"), CommandHeaders),
    request_body = HashMap<String, Value>,
    responses((status = 201, description = "Registered: its first version", body = SchemaRow),
        (status = 204, description = "Registered: `ETag` is its version now"),
        (status = 422, description = "Not a schema: `invalid_schema`, with a pointer for each fault")),
)]
pub(in super::super) async fn register(
    State(api): State<Arc<Api>>,
    _operator: Operator,
    asked: Asked,
    Path(name): Path<String>,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    let name = SchemaName::parse(&name);
    let name = name.map_err(|error| Problem::parameter("name", error.to_string()))?;
    let schema = body(&bytes, MAX_SCHEMA_BYTES)?;
    api.handlers.schemas.check(&schema).await?;
    for _ in 0..ATTEMPTS {
        // The answer depends on the version, and is kept with the command: it must be this one.
        let known = api.handlers.schemas.version(&name).await?;
        let created_at = now();
        let answer = answer(&name, &schema, known, created_at)?;
        let mut envelope = asked.envelope(&bytes, &answer)?;
        envelope.expected = asked.expected.or(Some(known));
        let command = Command::Register { created_at, schema: schema.clone() };
        match api.handlers.schemas.register(&name, command, envelope).await {
            Err(commands::Error::OtherVersion { .. }) if asked.expected.is_none() => {}
            Err(error) => return Err(error.into()),
            Ok(done) => {
                api.wait.command(PROJECTION, done.position, asked.wait).await;
                return answer.respond(&done);
            }
        }
    }
    Err(Problem::unavailable("contention", "others keep registering this schema"))
}

fn answer(
    name: &SchemaName,
    schema: &Body,
    known: Version,
    created_at: chrono::DateTime<chrono::Utc>,
) -> Result<Answer, Problem> {
    let location = format!("/api/v1/schemas/{name}");
    if known > Version::NONE {
        return Answer::no_content(location);
    }
    let schema = RawValue::from_string(schema.as_str().to_owned());
    let schema = schema.map_err(|error| Problem::internal(&error))?;
    let row = SchemaRow { name: name.to_string(), version: 1, schema, created_at };
    Answer::new(StatusCode::CREATED, location, Version(1), &row)
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct VersionQuery {
    /// The latest if left out.
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
pub(in super::super) async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Path(name): Path<SchemaName>,
    Query(query): Query<VersionQuery>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let version = query.version.map(i64::from);
    let row = documents::schema(api.store.pool(), name.as_str(), version).await?;
    let row = row.ok_or_else(|| Problem::not_found("schema"))?;
    let version = row.version;
    Ok(page::one(row, Some(version), position))
}
