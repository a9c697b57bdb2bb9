//! Tasks over HTTP: create, look at, change, move, assign and delete them.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Datelike, Utc};
use domain::projects::task::{self as decided, Act};
use domain::projects::{Change, Description, Name, Status};
use eventsourcing::Version;
use projections::projects::task::{self, Filter, Row, status_schema};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::extract::{Json, Path, Query};
use super::super::page::{self, Cursor, Limit, Page};
use super::super::problem::Problem;
use super::super::receipt::{Answer, Asked, CommandHeaders};
use super::super::wait::{self, QueryHeaders};
use super::super::{Api, tags};
use super::{PROJECTION, now, present, repeated, to_micros, viewer};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(get, change, delete))
}

/// When a task is due: RFC 3339, years 0 to 9999, kept to the microsecond.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Due(DateTime<Utc>);

impl TryFrom<String> for Due {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let time = DateTime::parse_from_rfc3339(&text).ok().map(|time| to_micros(time.to_utc()));
        let time = time.filter(|time| (0..=9999).contains(&time.year()));
        time.map(Self).ok_or("not a time as in RFC 3339, such as 2026-01-31T12:00:00Z")
    }
}

/// A task that is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTask)]
struct New {
    project_id: Uuid,
    #[schema(value_type = String, min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$", example = "Pack the books")]
    title: Name,
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\u0000]*$")]
    description: Option<Description>,
    /// The owner or a member of the project.
    assignee_id: Option<Uuid>,
    #[schema(value_type = Option<DateTime<Utc>>)]
    due_at: Option<Due>,
}

/// Create a task
///
/// In a project the caller is a member of. It is `ToDo` at first.
#[utoipa::path(
    post, path = "/api/v1/tasks", tag = tags::TASKS, params(CommandHeaders), request_body = New,
    responses((status = 201, description = "Created", body = Row),
        (status = 404, description = "There is no such project, or not for this caller"),
        (status = 422, description = "The body is not what is asked for, or the assignee is not \
            a member of the project (`assignee_not_a_member`)")),
)]
async fn create(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Json { value, bytes }: Json<New>,
) -> Result<Response, Problem> {
    let by = asked.caller.user()?;
    let row = new_row(&value);
    let location = format!("/api/v1/tasks/{}", row.id);
    let answer = Answer::new(StatusCode::CREATED, location, Version(row.version), &row)?;
    let act = Act::Create(decided::New {
        project_id: value.project_id,
        title: value.title,
        description: value.description,
        assignee_id: value.assignee_id,
        due_at: value.due_at.map(|Due(at)| at),
    });
    let envelope = asked.envelope(&bytes, &answer)?;
    let done = api.handlers.projects.execute_task(row.id, by, act, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// A task as it will be shown once the read model has it.
fn new_row(new: &New) -> Row {
    let now = now();
    Row {
        id: Uuid::now_v7(),
        project_id: new.project_id,
        title: new.title.as_str().to_owned(),
        description: new.description.as_ref().map(|text| text.as_str().to_owned()),
        assignee_id: new.assignee_id,
        status: Status::ToDo.as_str().to_owned(),
        due_at: new.due_at.map(|Due(at)| at),
        created_at: now,
        updated_at: now,
        version: 1,
    }
}

/// Which tasks.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only those of this project.
    project_id: Option<Uuid>,
    /// Only those that are assigned to this user.
    assignee_id: Option<Uuid>,
    /// Only those of this status.
    #[param(schema_with = status_schema, required = false)]
    status: Option<Status>,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List tasks, newest first
///
/// Those of projects the caller owns or is a member of; for operators and administrators, all.
#[utoipa::path(
    get, path = "/api/v1/tasks", tag = tags::TASKS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of tasks", body = Page<Row>)),
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
    let ListQuery { project_id, assignee_id, status, limit, cursor } = query;
    let filter = Filter { project_id, assignee_id, status };
    let after = cursor.as_ref().map(Cursor::read).transpose()?;
    let rows = task::list(api.store.pool(), viewer, filter, after, limit.into()).await?;
    page::full(&uri, rows, limit, position, |last| (last.created_at, last.id))
}

/// Show one task
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}", tag = tags::TASKS, params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The task", body = Row)),
)]
async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let viewer = viewer(&caller)?;
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let row = task::get(api.store.pool(), viewer, id).await?;
    let row = row.ok_or_else(|| Problem::not_found("task"))?;
    let version = row.version;
    Ok(page::one(row, Some(version), position))
}

/// What is to be different; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TaskChanges)]
struct Changes {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$")]
    title: Option<Name>,
    /// `null` takes it away.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\u0000]*$")]
    description: Change<Description>,
    /// The owner or a member of the project; `null` for nobody.
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    assignee_id: Change<Uuid>,
    /// `ToDo` to `InProgress` and back, `InProgress` to `Done` and back.
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = status_schema, required = false)]
    status: Option<Status>,
    /// `null` takes it away.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    due_at: Change<Due>,
}

/// Change, move or assign a task
///
/// For members of its project, and administrators; all of it is done, or nothing. A task moves
/// from `ToDo` to `InProgress` to `Done`, and back in the same steps; one that goes from `ToDo` to
/// `Done` or back at once is refused (409 `status_move_refused`), as is whatever happens in an
/// archived project (409 `project_archived`).
#[utoipa::path(
    patch, path = "/api/v1/tasks/{id}", tag = tags::TASKS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = Changes,
    responses((status = 204, description = "Changed, or as it was asked for already"),
        (status = 422, description = "The body is not what is asked for, or the assignee is not \
            a member of the project (`assignee_not_a_member`)")),
)]
async fn change(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    asked: Asked,
    Path(id): Path<Uuid>,
    Json { value, bytes }: Json<Changes>,
) -> Result<Response, Problem> {
    let act = Act::Change(decided::Changes {
        title: value.title,
        description: value.description,
        assignee_id: value.assignee_id,
        status: value.status,
        due_at: value.due_at.map(|Due(at)| at),
    });
    execute(&api, &asked, id, act, &repeated(&uri, &bytes)).await
}

/// Delete a task
///
/// For members of its project, and administrators.
#[utoipa::path(
    delete, path = "/api/v1/tasks/{id}", tag = tags::TASKS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "Deleted, or was already")),
)]
async fn delete(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    asked: Asked,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    execute(&api, &asked, id, Act::Delete, &repeated(&uri, b"")).await
}

async fn execute(
    api: &Api,
    asked: &Asked,
    id: Uuid,
    act: Act,
    request: &[u8],
) -> Result<Response, Problem> {
    let by = asked.caller.user()?;
    let answer = Answer::no_content(format!("/api/v1/tasks/{id}"))?;
    let envelope = asked.envelope(request, &answer)?;
    let done = api.handlers.projects.execute_task(id, by, act, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}
