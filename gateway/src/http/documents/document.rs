//! Documents: record, list and show them. A document is returned exactly as it was sent.

use commands::Done;
use commands::documents::{SchemaError, record as record_document};
use domain::Actor;
use domain::documents::SchemaName;
use domain::documents::document::Command;
use eventsourcing::Version;
use projections::documents::{self, Documents, PAGE_BYTES, Row};

use super::super::clock::now;
use super::super::extract::RawJson;
use super::super::prelude::*;
use super::body;

/// Most validations of a document: each one but the last met a new version of its schema.
const ATTEMPTS: usize = 5;
/// Largest document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The schema of a new document.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordQuery {
    /// Name of a registered schema. The document is refused unless it is valid against the latest
    /// version.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[a-z0-9_.-]+$")]
    schema: Option<SchemaName>,
}

/// Record a document
///
/// Any JSON object of at most 256 KiB, nested at most 100 levels deep. It is stored exactly as it
/// was sent, including digits, order and white space. With `schema`, numbers are those that a 64-bit
/// integer or a double holds with all their digits; any other is refused with its place, because it
/// could not be judged exactly.
#[utoipa::path(
    post, path = "/data", tag = tags::DOCUMENTS, params(RecordQuery, CommandHeaders),
    request_body = HashMap<String, Value>,
    responses((status = 201, description = "The document is recorded", body = Row),
        (status = 422, description = "The body is not an object, or not valid against the schema (`schema_violation`, with a pointer for each fault)")),
)]
pub(super) async fn record(
    context: CommandContext,
    Query(query): Query<RecordQuery>,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    let owner_id = context.caller.user()?.id;
    let data = body::parse(&bytes, MAX_DOCUMENT_BYTES)?;
    let handlers = &context.api.handlers;
    for _ in 0..ATTEMPTS {
        let schema = match &query.schema {
            None => None,
            Some(name) => match handlers.schemas.validate(name, &data).await {
                Ok(schema) => Some(schema),
                Err(invalid) => return replay_or_refuse(&context, invalid).await,
            },
        };
        let (id, created_at) = (Uuid::now_v7(), now());
        let row = Row::recorded(id, owner_id, schema.as_ref(), data.clone(), created_at);
        let location = format!("/data/{id}");
        let response = StoredResponse::new(StatusCode::CREATED, location, Version(1), &row)?;
        let envelope = context.envelope(&response)?;
        let command = Command::Record { owner_id, created_at, schema, data: data.clone() };
        match record_document(handlers, id, command, envelope).await {
            // Another version of the schema was registered since the validation.
            Err(commands::Error::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
            Ok(done) => return context.respond(Documents::NAME, response, &done).await,
        }
    }
    let detail = "other requests keep registering this schema; retry later";
    Err(Problem::unavailable("contention", detail))
}

/// Responds to a request that was accepted before with its stored response, even if the document is
/// not valid against the latest version of the schema; refuses all others.
async fn replay_or_refuse(
    context: &CommandContext,
    invalid: SchemaError,
) -> Result<Response, Problem> {
    let response = StoredResponse::no_content(String::new())?;
    if let Some(new) = context.envelope(&response)?.receipt
        && let Some(known) = context.api.store.receipt(&new.key).await?
        && known.fingerprint == new.fingerprint
    {
        let position = known.position;
        let nothing_new = Done::nothing_new(position, Version::NONE);
        let done = Done { replayed: Some(known), ..nothing_new };
        return response.or_replayed(&done)?.into_response(position);
    }
    Err(invalid.into())
}

/// The owner whose documents the caller sees; none: all documents.
fn owner(actor: Actor) -> Option<Uuid> {
    (!actor.sees_all()).then_some(actor.id)
}

/// List documents, newest first
///
/// Users see only their own documents; operators and administrators see all.
#[utoipa::path(
    get, path = "/data", tag = tags::DOCUMENTS, params(PageQuery, QueryHeaders),
    responses((status = 200, description = "A page of documents", body = Page<Row>)),
)]
pub(super) async fn list(
    context: QueryContext,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let owner = owner(caller.user()?);
    let after = page::after(query.cursor.as_ref())?;
    let position = context.wait(Documents::NAME).await?;
    let rows = documents::list(context.pool(), owner, after, query.limit.into()).await?;
    let bytes: usize = rows.iter().map(|row| row.data.as_str().len()).sum();
    let full = rows.len() == usize::from(query.limit) || bytes >= PAGE_BYTES as usize;
    let next = rows.last().filter(|_| full).map(|last| (last.created_at, last.id));
    let next = page::next(next.as_ref())?;
    Ok(page::respond(&context.uri, rows, next, position))
}

/// Show one document
#[utoipa::path(
    get, path = "/data/{id}", tag = tags::DOCUMENTS, params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The document", body = Row)),
)]
pub(super) async fn get(
    context: QueryContext,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let row = documents::get(context.pool(), id, owner(caller.user()?));
    context.show(Documents::NAME, "document", row, |_| Some(1_i64)).await
}
