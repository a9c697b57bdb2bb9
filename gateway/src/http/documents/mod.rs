//! Documents over HTTP: hand one in, look at one's own. What was handed in comes back to the
//! letter.

mod schemas;

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, SubsecRound, Utc};
use commands::Done;
use commands::documents::Invalid;
use domain::Actor;
use domain::documents::document::Command;
use domain::documents::{Body, SchemaName, SchemaRef, document_stream};
use eventsourcing::Version;
use projections::documents::{self, Against, PAGE_BYTES, Row};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::extract::{Path, Query, RawJson, malformed};
use super::page::{self, Cursor, Limit, Page};
use super::problem::{Fault, Problem};
use super::receipt::{Answer, Asked, CommandHeaders};
use super::wait::{self, QueryHeaders};
use super::{Api, tags};

/// The projection that answers here.
const PROJECTION: &str = "documents";
/// Largest document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(record, list))
        .routes(routes!(get))
        .routes(routes!(schemas::register, schemas::get))
}

/// What the document is held against.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RecordQuery {
    /// Name of a registered schema: the document is refused unless it is valid against the latest
    /// version.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]+$")]
    schema: Option<SchemaName>,
}

/// Record a document
///
/// Any JSON object of at most 256 KiB, nested at most 100 deep. It is kept to the letter: digits,
/// order and white space stay.
#[utoipa::path(
    post, path = "/data", tag = tags::DOCUMENTS, params(RecordQuery, CommandHeaders),
    request_body = HashMap<String, Value>,
    responses((status = 201, description = "Recorded", body = Row),
        (status = 422, description = "Not an object, or not one that is valid against the schema: `schema_violation`, with a pointer for each fault")),
)]
async fn record(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Query(query): Query<RecordQuery>,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    let owner_id = asked.caller.user()?.id;
    let data = body(&bytes, MAX_DOCUMENT_BYTES)?;
    let name = query.schema.as_ref().map_or("", SchemaName::as_str);
    let request = [name.as_bytes(), b"\n", &bytes].concat();
    let schema = match &query.schema {
        None => None,
        Some(name) => match api.handlers.schemas.hold(name, &data).await {
            Ok(schema) => Some(schema),
            Err(invalid) => return refused(&api, &asked, &request, invalid).await,
        },
    };
    let row = new_row(owner_id, schema.as_ref(), &data)?;
    let (id, created_at) = (row.id, row.created_at);
    let answer = Answer::new(StatusCode::CREATED, format!("/data/{id}"), Version(1), &row)?;
    let envelope = asked.envelope(&request, &answer)?;
    let command = Command::Record { owner_id, created_at, schema, data };
    let done = api.handlers.documents.create(&document_stream(id), command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// The document as it will be shown.
fn new_row(owner_id: Uuid, schema: Option<&SchemaRef>, data: &Body) -> Result<Row, Problem> {
    let data = RawValue::from_string(data.as_str().to_owned());
    Ok(Row {
        id: Uuid::now_v7(),
        owner_id,
        data: data.map_err(|error| Problem::internal(&error))?,
        schema: schema
            .map(|known| Against { name: known.name.to_string(), version: known.version.into() }),
        created_at: now(),
    })
}

/// Now, as precisely as Postgres keeps it.
fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// A request that was accepted once is answered as it was then, even if its schema has moved on.
async fn refused(
    api: &Api,
    asked: &Asked,
    request: &[u8],
    invalid: Invalid,
) -> Result<Response, Problem> {
    let answer = Answer::no_content(String::new())?;
    if let Some(new) = asked.envelope(request, &answer)?.receipt
        && let Some(known) = api.store.receipt(&new.key).await?
        && known.fingerprint == new.fingerprint
    {
        let (position, version) = (known.position, Version::NONE);
        return answer.respond(&Done { position, version, replayed: Some(known) });
    }
    Err(invalid.into())
}

/// A JSON object, looked through.
fn body(bytes: &[u8], most: usize) -> Result<Body, Problem> {
    if bytes.len() > most {
        let detail = format!("at most {} KiB", most / 1024);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
    }
    let json = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    Body::new(json).map_err(|error| Problem::member_at(&error.pointer, error.detail))
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        let detail = invalid.to_string();
        let (code, faults) = match invalid {
            Invalid::Document(faults) => ("schema_violation", faults),
            Invalid::Schema(faults) => ("invalid_schema", faults),
            Invalid::UnknownSchema(_) => return Self::parameter("schema", detail),
            Invalid::Busy => return Self::unavailable("validation_busy", detail),
            Invalid::Abrupt(error) => return Self::internal(&error),
            Invalid::Log(error) => return error.into(),
        };
        let faults = faults.into_iter().map(|fault| Fault::at(fault.pointer, fault.detail));
        Self::invalid(code, detail).faults(faults)
    }
}

/// Whose documents a caller sees: one's own, or everybody's.
fn owner(actor: Actor) -> Option<Uuid> {
    (!actor.sees_all()).then_some(actor.id)
}

/// Which documents.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Items on the page: 1 to 500, 100 if not said; fewer where they are large.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List documents, newest first
///
/// One's own; operators and administrators see everybody's.
#[utoipa::path(
    get, path = "/data", tag = tags::DOCUMENTS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of documents", body = Page<Row>)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let owner = owner(caller.user()?);
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let after = query.cursor.as_ref().map(Cursor::read).transpose()?;
    let rows = documents::list(api.store.pool(), owner, after, query.limit.into()).await?;
    let bytes: usize = rows.iter().map(|row| row.data.get().len()).sum();
    let full = rows.len() == usize::from(query.limit) || bytes >= PAGE_BYTES as usize;
    let last = rows.last().filter(|_| full);
    let next = last.map(|last| Cursor::to(&(last.created_at, last.id))).transpose()?;
    Ok(page::respond(&uri, rows, next.map(|cursor| ("cursor", cursor.into())), position))
}

/// Show one document
#[utoipa::path(
    get, path = "/data/{id}", tag = tags::DOCUMENTS, params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The document", body = Row)),
)]
async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let owner = owner(caller.user()?);
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let row = documents::get(api.store.pool(), id, owner).await?;
    let row = row.ok_or_else(|| Problem::not_found("document"))?;
    Ok(page::one(row, Some(1), position))
}
