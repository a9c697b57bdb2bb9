//! Accounts of users: register, list and show them, change a role or the caller's password.

use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, Utc};
use commands::Envelope;
use commands::users::{Password, Plain, Registration};
use domain::Role;
use domain::users::{EmailAddress, FullName, Personal};
use eventsourcing::Version;
use eventstore::AppendError;
use projections::users::{self, RoleName, Row, Users};
use serde_json::json;

use super::super::admission::ClientAddress;
use super::super::caller::Admin;
use super::super::clock::now;
use super::super::command_context::OpenCommandContext;
use super::super::extract::parsed;
use super::super::prelude::*;

/// A new user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
pub(super) struct NewUser {
    /// E-mail address, unique without regard to case. ASCII, without quoted parts or address
    /// literals.
    #[schema(value_type = String, format = "email", max_length = 254, example = "ada@example.org")]
    email: EmailAddress,
    /// The password, 8 to 128 characters.
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 128, example = "correct horse")]
    password: Password,
    /// Full name: with a visible character, and without control characters.
    #[serde(deserialize_with = "parsed")]
    #[schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\x00]*[^\x00-\x20][^\x00]*$", example = "Ada Lovelace")]
    full_name: FullName,
}

/// The part of the response to a registration that its receipt stores. The rest is personal data,
/// which a repetition sends along anyway.
#[derive(Debug, Serialize, Deserialize)]
struct StoredBody {
    id: Uuid,
    created_at: DateTime<Utc>,
}

/// Register a user
///
/// Without a token. The new user has the role `user`; an administrator can change it.
#[utoipa::path(
    post, path = "/api/v1/users", tag = tags::USERS, params(CommandHeaders), request_body = NewUser,
    security(()),
    responses((status = 201, description = "The user is registered", body = Row),
        (status = 409, description = "The e-mail address belongs to another user")),
)]
pub(super) async fn register(
    OpenCommandContext(context): OpenCommandContext,
    address: ClientAddress,
    Json { value }: Json<NewUser>,
) -> Result<Response, Problem> {
    context.api.admission.registration(address)?;
    let NewUser { email, password, full_name } = value;
    let personal = Personal { email, full_name };
    let (id, now, role) = (Uuid::now_v7(), now(), Role::User);
    let location = format!("/api/v1/users/{id}");
    let stored = StoredBody { id, created_at: now };
    let response = StoredResponse::new(StatusCode::CREATED, location, Version(1), &stored)?;
    // The receipt's fingerprint is a fast hash: with the password in it, anyone who reads it could
    // guess the password at a billion attempts a second, in spite of the slow hash. A repetition's
    // password is compared by the slow hash instead.
    let content = json!([personal.email.as_str(), personal.full_name.as_str()]).to_string();
    let envelope = context.envelope_without_secret(content.as_bytes(), &response)?;
    let (repeated, shown) = (password.clone(), personal.clone());
    let registration = Registration { id, personal, password, role, now };
    let done = context.api.handlers.users.register(registration, envelope).await?;

    let response = response.or_replayed(&done)?;
    let StoredBody { id, created_at } = response.read()?;
    if done.replayed.is_some() && !context.api.handlers.users.registered_with(id, repeated).await? {
        return Err(AppendError::KeyReused.into());
    }
    let row = Row::new(id, shown, role, created_at, 1);
    context.api.wait.command(Users::NAME, done.position, context.wait).await;
    response.with_body(&row)?.into_response(done.position)
}

/// Show the caller's account
///
/// Read from the log, so never behind it.
#[utoipa::path(
    get, path = "/api/v1/users/me", tag = tags::USERS,
    responses((status = 200, description = "The caller's account", body = Row),
        (status = 404, description = "The caller is a program, or a user who never registered")),
)]
pub(super) async fn me(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, Problem> {
    let not_found = || Problem::not_found("user");
    let id = caller.user().map_err(|_a_program| not_found())?.id;
    let found = api.handlers.users.find(id).await?.ok_or_else(not_found)?;
    let version = found.version.0;
    Ok(page::one(Row::of(id, found.account, version), Some(version), found.position))
}

/// List users, newest first
#[utoipa::path(
    get, path = "/api/v1/users", tag = tags::USERS, params(PageQuery, QueryHeaders),
    responses((status = 200, description = "A page of users", body = Page<Row>),
        (status = 403, description = "The caller is not an administrator")),
)]
pub(super) async fn list(
    context: QueryContext,
    _: Admin,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let after = page::after(query.cursor.as_ref())?;
    let rows = users::list(context.pool(), after, query.limit.into());
    let key = |last: &Row| (last.created_at, last.id);
    context.list(Users::NAME, query.limit, rows, key).await
}

/// Show one user
///
/// Users see only themselves; administrators see all.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = tags::USERS, params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "The user", body = Row),
        (status = 404, description = "There is no such user, or it is not visible to this caller")),
)]
pub(super) async fn get(
    context: QueryContext,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    if !caller.user()?.may_act_for(id) {
        return Err(Problem::not_found("user"));
    }
    let row = users::get(context.pool(), id);
    context.show(Users::NAME, "user", row, |row| Some(row.version)).await
}

/// The new role of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoleChange)]
pub(super) struct RoleChange {
    /// What the user may do.
    #[schema(value_type = RoleName)]
    role: Role,
}

/// Change a user's role
///
/// Access tokens of that user keep the old role until they expire: after 15 minutes by default. The
/// log decides who may change roles: a demoted administrator may not, whatever the token contains.
/// Only a registered administrator may take the role `admin` from another, so that one always remains.
#[utoipa::path(
    put, path = "/api/v1/users/{id}/role", tag = tags::USERS,
    params(("id" = Uuid, Path), CommandHeaders), request_body = RoleChange,
    responses((status = 204, description = "The user has the role"),
        (status = 403, description = "The caller is not an administrator (any more), or tries to change their own role (`own_role`), or to demote an administrator without being a registered one (`not_a_registered_administrator`)")),
)]
pub(super) async fn change_role(
    context: CommandContext,
    Path(id): Path<Uuid>,
    Json { value }: Json<RoleChange>,
) -> Result<Response, Problem> {
    let response = StoredResponse::no_content(format!("/api/v1/users/{id}"))?;
    let by = context.caller.user()?;
    let execute = |envelope| context.api.handlers.users.change_role(id, value.role, by, envelope);
    context.execute(Users::NAME, response, execute).await
}

/// A change of the caller's password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange)]
pub(super) struct PasswordChange {
    /// The password to replace.
    #[schema(value_type = String, format = "password")]
    current_password: Plain,
    /// The new password, 8 to 128 characters.
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 128)]
    new_password: Password,
}

/// Change the caller's password
///
/// All sessions of the caller end at their next refresh, including this one. A repetition changes
/// nothing: it finds the new password in place.
#[utoipa::path(
    put, path = "/api/v1/users/me/password", tag = tags::USERS,
    params(CommandHeaders), request_body = PasswordChange,
    responses((status = 204, description = "The password is changed"),
        (status = 404, description = "The caller never registered"),
        (status = 422, description = "The current password is wrong (`wrong_password`), or the new one is invalid")),
)]
pub(super) async fn change_password(
    context: CommandContext,
    Json { value }: Json<PasswordChange>,
) -> Result<Response, Problem> {
    let PasswordChange { current_password, new_password } = value;
    let id = context.caller.user()?.id;
    let response = StoredResponse::no_content("/api/v1/users/me".into())?;
    // Without a receipt: see `Users::change_password`.
    let (metadata, expected) = (context.metadata(), context.if_match.versions());
    let envelope = Envelope { metadata, expected, ..Envelope::default() };
    let users = &context.api.handlers.users;
    let done = users.change_password(id, current_password, new_password, envelope).await?;
    context.respond(Users::NAME, response, &done).await
}
