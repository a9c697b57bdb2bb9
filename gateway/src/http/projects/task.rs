//! Tasks: create, list, show, change, move, assign and delete them.

use chrono::{DateTime, Datelike, Utc};
use domain::projects::task::{self as decider, Act};
use domain::projects::{Change, Description, Name, Status};
use eventsourcing::Version;
use projections::projects::Projects;
use projections::projects::task::{self, Filter, New as NewRow, Row, StatusName};

use super::super::clock::{now, to_micros};
use super::super::extract::not_null;
use super::super::prelude::*;
use super::super::text;
use super::viewer::viewer;

/// When a task is due: RFC 3339, years 0 to 9999, stored to the microsecond.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Due(DateTime<Utc>);

impl TryFrom<String> for Due {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let time = DateTime::parse_from_rfc3339(&text).ok().map(|time| to_micros(time.to_utc()));
        let time = time.filter(|time| (0..=9999).contains(&time.year()));
        time.map(Self).ok_or("must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z")
    }
}

/// A new task.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTask)]
pub(super) struct New {
    /// The project of the task.
    project_id: Uuid,
    /// Title of the task.
    #[schema(value_type = String, min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$", example = "Pack the books")]
    title: Name,
    /// Description of the task; an empty text means none.
    #[serde(default, deserialize_with = "text::optional")]
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\u0000]*$")]
    description: Option<Description>,
    /// The user who is to do the task: the owner or a member of the project.
    assignee_id: Option<Uuid>,
    /// When the task is due (RFC 3339).
    #[schema(value_type = Option<DateTime<Utc>>)]
    due_at: Option<Due>,
}

/// Create a task
///
/// For members of its project. A new task has the status `ToDo`.
#[utoipa::path(
    post, path = "/api/v1/tasks", tag = tags::TASKS, params(CommandHeaders), request_body = New,
    responses((status = 201, description = "The task is created", body = Row),
        (status = 404, description = "There is no such project, or it is not visible to this caller"),
        (status = 422, description = "The body is invalid, or the assignee is not a member of the \
            project (`assignee_not_a_member`)")),
)]
pub(super) async fn create(
    context: CommandContext,
    Json { value }: Json<New>,
) -> Result<Response, Problem> {
    let by = context.caller.user()?;
    let new = NewRow {
        project_id: value.project_id,
        title: value.title.as_str().to_owned(),
        description: value.description.as_ref().map(|text| text.as_str().to_owned()),
        assignee_id: value.assignee_id,
        due_at: value.due_at.map(|Due(at)| at),
    };
    let row = Row::created(Uuid::now_v7(), new, now());
    let location = format!("/api/v1/tasks/{}", row.id);
    let response = StoredResponse::new(StatusCode::CREATED, location, Version(1), &row)?
        .recorded_at(&["/created_at", "/updated_at"]);
    let New { project_id, title, description, assignee_id, due_at } = value;
    let due_at = due_at.map(|Due(at)| at);
    let new = decider::New { project_id, title, description, assignee_id, due_at };
    let projects = &context.api.handlers.projects;
    let create = |envelope| projects.execute_task(row.id, by, Act::Create(new), envelope);
    context.execute(Projects::NAME, response, create).await
}

/// Which tasks.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only tasks of this project.
    project_id: Option<Uuid>,
    /// Only tasks that are assigned to this user.
    assignee_id: Option<Uuid>,
    /// Only tasks with this status.
    #[param(value_type = Option<StatusName>)]
    status: Option<Status>,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List tasks, newest first
///
/// Users see the tasks of projects they own or are a member of; operators and administrators see
/// all.
#[utoipa::path(
    get, path = "/api/v1/tasks", tag = tags::TASKS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of tasks", body = Page<Row>)),
)]
pub(super) async fn list(
    context: QueryContext,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let ListQuery { project_id, assignee_id, status, limit, cursor } = query;
    let filter = Filter { project_id, assignee_id, status };
    let after = page::after(cursor.as_ref())?;
    let rows = task::list(context.pool(), viewer(&caller)?, filter, after, limit.into());
    context.list(Projects::NAME, limit, rows, |last| (last.created_at, last.id)).await
}

/// Show one task
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}", tag = tags::TASKS, params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The task", body = Row)),
)]
pub(super) async fn get(
    context: QueryContext,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let row = task::get(context.pool(), viewer(&caller)?, id);
    context.show(Projects::NAME, "task", row, |row| Some(row.version)).await
}

/// A change of a task; members that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TaskChanges)]
pub(super) struct Changes {
    /// The new title.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$")]
    title: Option<Name>,
    /// The new description; `null` or an empty text removes it.
    #[serde(default, deserialize_with = "text::change")]
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\u0000]*$")]
    description: Change<Description>,
    /// The new assignee, the owner or a member of the project; `null` assigns the task to no one.
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    assignee_id: Change<Uuid>,
    /// The new status: from `ToDo` to `InProgress` and back, from `InProgress` to `Done` and back.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = StatusName, required = false)]
    status: Option<Status>,
    /// The new due time (RFC 3339); `null` removes it.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    due_at: Change<Due>,
}

/// Change, move or assign a task
///
/// For members of its project and for administrators. All changes are made, or none. A task moves
/// from `ToDo` to `InProgress` to `Done`, and back in the same steps; any other move is refused
/// (409 `status_move_refused`), as is every change in an archived project (409 `project_archived`).
#[utoipa::path(
    patch, path = "/api/v1/tasks/{id}", tag = tags::TASKS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = Changes,
    responses((status = 204, description = "The task has the requested values"),
        (status = 422, description = "The body is invalid, or the assignee is not a member of the \
            project (`assignee_not_a_member`)")),
)]
pub(super) async fn change(
    context: CommandContext,
    Path(id): Path<Uuid>,
    Json { value }: Json<Changes>,
) -> Result<Response, Problem> {
    let Changes { title, description, assignee_id, status, due_at } = value;
    let due_at = due_at.map(|Due(at)| at);
    let changes = decider::Changes { title, description, assignee_id, status, due_at };
    execute(&context, id, Act::Change(changes)).await
}

/// Delete a task
///
/// For members of its project and for administrators.
#[utoipa::path(
    delete, path = "/api/v1/tasks/{id}", tag = tags::TASKS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "The task is deleted")),
)]
pub(super) async fn delete(
    context: CommandContext,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    execute(&context, id, Act::Delete).await
}

async fn execute(context: &CommandContext, id: Uuid, act: Act) -> Result<Response, Problem> {
    let by = context.caller.user()?;
    let response = StoredResponse::no_content(format!("/api/v1/tasks/{id}"))?;
    let execute = |envelope| context.api.handlers.projects.execute_task(id, by, act, envelope);
    context.execute(Projects::NAME, response, execute).await
}
