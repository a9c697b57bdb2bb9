//! Users over HTTP: register, look, change a role or one's password. Signing in is beside it.

pub(super) mod auth;

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use commands::Envelope;
use commands::users::{Password, Plain, Registration, now};
use domain::Role;
use domain::users::user::{Command, stream};
use domain::users::{EmailAddress, FullName, Personal};
use eventsourcing::Version;
use eventstore::AppendError;
use projections::users::{self, RoleName, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::{Admin, Caller};
use super::extract::{Json, Path, Query};
use super::page::{self, Cursor, Limit, Page};
use super::problem::Problem;
use super::receipt::{Answer, Asked, CommandHeaders, OpenAsked};
use super::wait::{self, QueryHeaders};
use super::{Api, tags};

/// The projection that answers here.
const PROJECTION: &str = "users";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(me))
        .routes(routes!(get))
        .routes(routes!(change_role))
        .routes(routes!(change_password))
        .merge(auth::routes())
}

pub(super) fn open_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(register)).merge(auth::open_routes())
}

/// Somebody who wants to be a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
pub(super) struct NewUser {
    /// Unique, whatever its case. ASCII; no quotes, no address of numbers.
    #[schema(value_type = String, format = "email", max_length = 254, example = "ada@example.org")]
    email: EmailAddress,
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 128, example = "correct horse")]
    password: Password,
    /// Not all blank, without NUL.
    #[schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\x00]*[^\x00-\x20][^\x00]*$", example = "Ada Lovelace")]
    full_name: FullName,
}

/// What a receipt keeps of the answer to a registration. The rest of the answer is personal and
/// stands in the request: whoever asks again brings it along.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    id: Uuid,
    created_at: DateTime<Utc>,
}

/// Register
///
/// Anybody may. The user's role is `user`; an administrator can change it.
#[utoipa::path(
    post, path = "/api/v1/users", tag = tags::USERS, params(CommandHeaders), request_body = NewUser,
    security(()),
    responses((status = 201, description = "Registered", body = Row),
        (status = 409, description = "The e-mail address is taken")),
)]
async fn register(
    State(api): State<Arc<Api>>,
    OpenAsked(asked): OpenAsked,
    Json { value, .. }: Json<NewUser>,
) -> Result<Response, Problem> {
    let NewUser { email, password, full_name } = value;
    let personal = Personal { email, full_name };
    let (id, now) = (Uuid::now_v7(), now());
    let location = format!("/api/v1/users/{id}");
    let kept = Kept { id, created_at: now };
    let answer = Answer::new(StatusCode::CREATED, location, Version(1), &kept)?;
    // The receipt's fingerprint is a fast hash: of the whole body it would be an invitation to guess
    // the password from it, a billion a second, beside the slow hash that is to prevent just that.
    // It leaves the password out, which is compared by the slow hash instead when the key comes back.
    let fingerprint = json!([personal.email.as_str(), personal.full_name.as_str()]).to_string();
    let envelope = asked.envelope(fingerprint.as_bytes(), &answer)?;
    let role = Role::User;
    let (again, shown) = (password.clone(), personal.clone());
    let registration = Registration { id, personal, password, role, now };
    let done = api.handlers.users.register(registration, envelope).await?;

    let answer = answer.given(&done)?;
    let Kept { id, created_at } = answer.read()?;
    if done.replayed.is_some() && !api.handlers.users.came_with(id, again).await? {
        return Err(AppendError::KeyReused.into());
    }
    let row = Row {
        id,
        email: shown.email.into(),
        full_name: shown.full_name.into(),
        role: role.to_string(),
        created_at,
        version: 1,
    };
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.with_body(&row)?.write(done.position)
}

/// Show who one is
///
/// Answered from the log itself, so never behind it. A token that speaks for a program, or for
/// somebody who never registered, is nobody here.
#[utoipa::path(
    get, path = "/api/v1/users/me", tag = tags::USERS,
    responses((status = 200, description = "The caller", body = Row),
        (status = 404, description = "The caller never registered")),
)]
async fn me(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    let nobody = || Problem::not_found("user");
    let id = caller.user().map_err(|_a_program| nobody())?.id;
    let found = api.handlers.users.find(id).await?.ok_or_else(nobody)?;
    let version = found.version.0;
    Ok(page::one(Row::of(id, found.account, version), Some(version), found.position))
}

/// Which users.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List users, newest first
#[utoipa::path(
    get, path = "/api/v1/users", tag = tags::USERS, params(ListQuery, QueryHeaders),
    responses((status = 200, description = "A page of users", body = Page<Row>),
        (status = 403, description = "Not an administrator")),
)]
async fn list(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    _: Admin,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let after = query.cursor.as_ref().map(Cursor::read).transpose()?;
    let rows = users::list(api.store.pool(), after, query.limit.into()).await?;
    page::full(&uri, rows, query.limit, position, |last| (last.created_at, last.id))
}

/// Show one user
///
/// Oneself, or anybody to an administrator.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = tags::USERS, params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The user", body = Row),
        (status = 404, description = "There is no such user, or not for this caller")),
)]
async fn get(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let nobody = || Problem::not_found("user");
    if !caller.user()?.may_act_for(id) {
        return Err(nobody());
    }
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let row = users::get(api.store.pool(), id).await?.ok_or_else(nobody)?;
    let version = row.version;
    Ok(page::one(row, Some(version), position))
}

/// What a user may do from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoleChange)]
pub(super) struct RoleChange {
    #[schema(value_type = RoleName)]
    role: Role,
}

/// Change a user's role
///
/// Tokens of that user say the old one until they are refreshed, which they must be every 15
/// minutes if nothing else is configured.
#[utoipa::path(
    put, path = "/api/v1/users/{id}/role", tag = tags::USERS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = RoleChange,
    responses((status = 204, description = "It is so"),
        (status = 403, description = "Not an administrator, or one's own role")),
)]
async fn change_role(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Path(id): Path<Uuid>,
    Json { value, bytes }: Json<RoleChange>,
) -> Result<Response, Problem> {
    let answer = Answer::no_content(format!("/api/v1/users/{id}"))?;
    // The id is part of what is asked: two users' roles do not share an idempotency key.
    let envelope = asked.envelope(&[id.as_bytes(), &*bytes].concat(), &answer)?;
    let command = Command::ChangeRole { id, role: value.role, by: asked.caller.user()? };
    let done = api.handlers.users.accounts.execute(&stream(id), command, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}

/// One password for another.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange)]
pub(super) struct PasswordChange {
    #[schema(value_type = String, format = "password")]
    current_password: Plain,
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 128)]
    new_password: Password,
}

/// Change one's password
///
/// Every session ends at its next refresh, this one too. Sent twice it is done once: the second
/// finds the new password in place.
#[utoipa::path(
    put, path = "/api/v1/users/me/password", tag = tags::USERS,
    params(CommandHeaders), request_body = PasswordChange,
    responses((status = 204, description = "Changed"),
        (status = 404, description = "The caller never registered"),
        (status = 422, description = "The current password is another one, or the new one is none")),
)]
async fn change_password(
    State(api): State<Arc<Api>>,
    asked: Asked,
    Json { value, .. }: Json<PasswordChange>,
) -> Result<Response, Problem> {
    let PasswordChange { current_password, new_password } = value;
    let id = asked.caller.user()?.id;
    let answer = Answer::no_content("/api/v1/users/me".into())?;
    // No receipt, as `Users::change_password` says.
    let (metadata, expected) = (asked.metadata(), asked.expected);
    let envelope = Envelope { metadata, expected, ..Envelope::default() };
    let users = &api.handlers.users;
    let done = users.change_password(id, current_password, new_password, envelope).await?;
    api.wait.command(PROJECTION, done.position, asked.wait).await;
    answer.respond(&done)
}
