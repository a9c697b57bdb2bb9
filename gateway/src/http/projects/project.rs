//! Projects: create, list, show, change and archive them, add and remove members.

use domain::projects::project::{Act, Command};
use domain::projects::{Change, Description, Name};
use eventsourcing::Version;
use projections::projects::Projects;
use projections::projects::project::{self, Row};

use super::super::clock::now;
use super::super::extract::not_null;
use super::super::prelude::*;
use super::super::text;
use super::viewer::viewer;

/// A new project.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProject)]
pub(super) struct New {
    /// Name of the project.
    #[schema(value_type = String, min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$", example = "Move house")]
    name: Name,
    /// Description of the project; an empty text means none.
    #[serde(default, deserialize_with = "text::optional")]
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\u0000]*$")]
    description: Option<Description>,
}

/// Create a project
///
/// The caller becomes its owner.
#[utoipa::path(
    post, path = "/api/v1/projects", tag = tags::PROJECTS, params(CommandHeaders),
    request_body = New,
    responses((status = 201, description = "The project is created", body = Row)),
)]
pub(super) async fn create(
    context: CommandContext,
    Json { value }: Json<New>,
) -> Result<Response, Problem> {
    let by = context.caller.user()?;
    let description = value.description.as_ref().map(Description::as_str);
    let row = Row::created(Uuid::now_v7(), value.name.as_str(), description, by.id, now());
    let location = format!("/api/v1/projects/{}", row.id);
    let response = StoredResponse::new(StatusCode::CREATED, location, Version(1), &row)?
        .recorded_at(&["/created_at", "/updated_at"]);
    let act = Act::Create { name: value.name, description: value.description };
    let create =
        |envelope| context.api.handlers.projects.create(row.id, Command { by, act }, envelope);
    context.execute(Projects::NAME, response, create).await
}

/// Which projects.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// `true`: archived projects, too (default `false`).
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    archived: bool,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List projects, newest first
///
/// Users see the projects they own or are a member of; operators and administrators see all.
#[utoipa::path(
    get, path = "/api/v1/projects", tag = tags::PROJECTS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of projects", body = Page<Row>)),
)]
pub(super) async fn list(
    context: QueryContext,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let (viewer, after) = (viewer(&caller)?, page::after(query.cursor.as_ref())?);
    let pool = context.pool();
    let rows = project::list(pool, viewer, query.archived, after, query.limit.into());
    let key = |last: &Row| (last.created_at, last.id);
    context.list(Projects::NAME, query.limit, rows, key).await
}

/// Show one project
#[utoipa::path(
    get, path = "/api/v1/projects/{id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The project", body = Row)),
)]
pub(super) async fn get(
    context: QueryContext,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let row = project::get(context.pool(), viewer(&caller)?, id);
    context.show(Projects::NAME, "project", row, |row| Some(row.version)).await
}

/// A change of a project; members that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProjectChanges)]
pub(super) struct Changes {
    /// The new name.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$")]
    name: Option<Name>,
    /// The new description; `null` or an empty text removes it.
    #[serde(default, deserialize_with = "text::change")]
    #[schema(value_type = Option<String>, max_length = 10_000, pattern = "^[^\\u0000]*$")]
    description: Change<Description>,
}

/// Change a project
///
/// For its owner and for administrators. An archived project cannot be changed (409
/// `project_archived`).
#[utoipa::path(
    patch, path = "/api/v1/projects/{id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = Changes,
    responses((status = 204, description = "The project has the requested values")),
)]
pub(super) async fn change(
    context: CommandContext,
    Path(id): Path<Uuid>,
    Json { value: Changes { name, description } }: Json<Changes>,
) -> Result<Response, Problem> {
    execute(&context, id, Act::Change { name, description }).await
}

/// Archive a project
///
/// For its owner and for administrators. Afterwards the project and its tasks are read-only, and
/// lists show it only with `archived=true`.
#[utoipa::path(
    delete, path = "/api/v1/projects/{id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "The project is archived")),
)]
pub(super) async fn archive(
    context: CommandContext,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    execute(&context, id, Act::Archive).await
}

/// Add a member
///
/// For the owner and for administrators. A member may see the project and work on its tasks. A
/// project has at most 1,000 members besides its owner (409 `too_many_members`).
#[utoipa::path(
    put, path = "/api/v1/projects/{id}/members/{user_id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), ("user_id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "The user is a member"),
        (status = 404, description = "There is no such project, or it is not visible to this caller; \
            or no user with this id is registered (`user_not_found`)")),
)]
pub(super) async fn add_member(
    context: CommandContext,
    Path((id, user_id)): Path<(Uuid, Uuid)>,
) -> Result<Response, Problem> {
    execute(&context, id, Act::AddMember(user_id)).await
}

/// Remove a member
///
/// For the owner and for administrators. Tasks stay assigned to the removed member until they are
/// assigned to another. The owner cannot be removed (409 `owner_stays`).
#[utoipa::path(
    delete, path = "/api/v1/projects/{id}/members/{user_id}", tag = tags::PROJECTS,
    params(("id" = Uuid, Path), ("user_id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "The user is not a member")),
)]
pub(super) async fn remove_member(
    context: CommandContext,
    Path((id, user_id)): Path<(Uuid, Uuid)>,
) -> Result<Response, Problem> {
    execute(&context, id, Act::RemoveMember(user_id)).await
}

async fn execute(context: &CommandContext, id: Uuid, act: Act) -> Result<Response, Problem> {
    let command = Command { by: context.caller.user()?, act };
    let response = StoredResponse::no_content(format!("/api/v1/projects/{id}"))?;
    let execute = |envelope| context.api.handlers.projects.execute(id, command, envelope);
    context.execute(Projects::NAME, response, execute).await
}
