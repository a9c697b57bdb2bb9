//! Projects over HTTP: create, look at, change and archive them, and say who belongs to them.

mod tasks;

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::Role;
use domain::projects::project::{Act, Command};
use domain::projects::{Change, Description, Name};
use eventsourcing::Version;
use projections::projects::Viewer;
use projections::projects::project::{self, Row};
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::extract::{Json, Path, Query};
use super::page::{self, Cursor, Limit, Page};
use super::problem::Problem;
use super::receipt::{Answer, Asked, CommandHeaders};
use super::wait::{self, QueryHeaders};
use super::{Api, tags};

/// The projection that answers here, for tasks too.
const PROJECTION: &str = "projects";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, change, archive))
        .routes(routes!(add_member, remove_member))
        .merge(tasks::routes())
}

/// Whose projects and tasks the caller may see.
fn viewer(caller: &Caller) -> Result<Viewer, Problem> {
    if caller.role >= Role::Operator {
        return Ok(Viewer::All); // Programs that run the system are no users.
    }
    Ok(Viewer::User(caller.user()?.id))
}

/// What a repetition of a command about one thing must equal: idempotency keys are kept by the
/// template of the path, which does not say which thing it was.
fn repeated(uri: &Uri, body: &[u8]) -> Vec<u8> {
    [uri.path().as_bytes(), b"\n", body].concat()
}

/// Reads a member that may be left out, but not be `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Now, as exactly as it will be stored.
fn now() -> DateTime<Utc> {
    to_micros(Utc::now())
}

fn to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(time)
}

/// A project that is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProject)]
struct New {
    #[schema(value_type = String, min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$", example = "Move house")]
    name: Name,
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\u0000]*$")]
    description: Option<Description>,
}

/// Create a project
///
/// Whoever creates it owns it.
#[utoipa::path(
    post, path = "/api/v1/projects", tag = tags::PROJECTS, params(CommandHeaders),
    request_body = New, responses((status = 201, description = "Created", body = Row)),
)]
async fn create(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Json { value, bytes }: Json<New>,
) -> Result<Response, Problem> {
    let by = asked.caller.user()?;
    let row = new_row(&value, by.id);
    let location = format!("/api/v1/projects/{}", row.id);
    let answer = Answer::new(StatusCode::CREATED, location, Version(row.version), &row)?;
    let act = Act::Create { name: value.name, description: value.description };
    let envelope = asked.envelope(&bytes, &answer)?;
    let command = Command { by, act };
    let done = api.handlers.projects.create(row.id, command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// A project as it will be shown once the read model has it.
fn new_row(new: &New, owner_id: Uuid) -> Row {
    let now = now();
    Row {
        id: Uuid::now_v7(),
        name: new.name.as_str().to_owned(),
        description: new.description.as_ref().map(|text| text.as_str().to_owned()),
        owner_id,
        members: Vec::new(),
        archived: false,
        created_at: now,
        updated_at: now,
        version: 1,
    }
}

/// Which projects.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Archived ones, too.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    archived: bool,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List projects, newest first
///
/// Those the caller owns or is a member of; for operators and administrators, all.
#[utoipa::path(
    get, path = "/api/v1/projects", tag = tags::PROJECTS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of projects", body = Page<Row>)),
)]
async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let viewer = viewer(&caller)?;
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let ListQuery { archived, limit, cursor } = query;
    let after = cursor.as_ref().map(Cursor::read).transpose()?;
    let rows = project::list(api.store.pool(), viewer, archived, after, limit.into()).await?;
    page::full(&uri, rows, limit, position, |last| (last.created_at, last.id))
}

/// Show one project
#[utoipa::path(
    get, path = "/api/v1/projects/{id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The project", body = Row)),
)]
async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let viewer = viewer(&caller)?;
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let row = project::get(api.store.pool(), viewer, id).await?;
    let row = row.ok_or_else(|| Problem::not_found("project"))?;
    let version = row.version;
    Ok(page::one(row, Some(version), position))
}

/// What is to be different; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProjectChanges)]
struct Changes {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$")]
    name: Option<Name>,
    /// `null` takes it away.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\u0000]*$")]
    description: Change<Description>,
}

/// Change a project
///
/// For its owner and administrators. Once archived it cannot be changed (409 `project_archived`).
#[utoipa::path(
    patch, path = "/api/v1/projects/{id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = Changes,
    responses((status = 204, description = "Changed, or as it was asked for already")),
)]
async fn change(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    asked: Asked,
    Path(id): Path<Uuid>,
    Json { value, bytes }: Json<Changes>,
) -> Result<Response, Problem> {
    let Changes { name, description } = value;
    execute(&api, &asked, id, Act::Change { name, description }, &repeated(&uri, &bytes)).await
}

/// Archive a project
///
/// For its owner and administrators. From then on the project and its tasks can only be read, and
/// it is listed only when archived ones are asked for.
#[utoipa::path(
    delete, path = "/api/v1/projects/{id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "Archived, or was already")),
)]
async fn archive(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    asked: Asked,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    execute(&api, &asked, id, Act::Archive, &repeated(&uri, b"")).await
}

/// Add a member
///
/// For the owner and administrators. A member may read the project and work on its tasks. There
/// are at most 1,000 besides the owner (409 `too_many_members`).
#[utoipa::path(
    put, path = "/api/v1/projects/{id}/members/{user_id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), ("user_id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "A member, or was already")),
)]
async fn add_member(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    asked: Asked,
    Path((id, user_id)): Path<(Uuid, Uuid)>,
) -> Result<Response, Problem> {
    execute(&api, &asked, id, Act::AddMember(user_id), &repeated(&uri, b"")).await
}

/// Remove a member
///
/// For the owner and administrators. Tasks that are assigned to the one who is removed stay so,
/// until somebody assigns them anew. The owner cannot be removed (409 `owner_stays`).
#[utoipa::path(
    delete, path = "/api/v1/projects/{id}/members/{user_id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), ("user_id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "No member any more, or was none")),
)]
async fn remove_member(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    asked: Asked,
    Path((id, user_id)): Path<(Uuid, Uuid)>,
) -> Result<Response, Problem> {
    execute(&api, &asked, id, Act::RemoveMember(user_id), &repeated(&uri, b"")).await
}

async fn execute(
    api: &Api,
    asked: &Asked,
    id: Uuid,
    act: Act,
    request: &[u8],
) -> Result<Response, Problem> {
    let command = Command { by: asked.caller.user()?, act };
    let answer = Answer::no_content(format!("/api/v1/projects/{id}"))?;
    let envelope = asked.envelope(request, &answer)?;
    let done = api.handlers.projects.execute(id, command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}
