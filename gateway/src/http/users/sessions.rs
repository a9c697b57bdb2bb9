//! The caller's sign-in sessions: list them, and end one.

use projections::users::Users;
use projections::users::sessions::{self, Row};

use super::super::prelude::*;

/// List the caller's sessions, newest first
///
/// The sign-ins that can still be refreshed: not those that have expired or were ended, and not those
/// before the last change of the password or before the caller last signed out everywhere. `current` marks
/// the session of the token of this request. A token that was made by `tributary token` belongs to no
/// session.
#[utoipa::path(
    get, path = "/api/v1/users/me/sessions", tag = tags::USERS, params(PageQuery, QueryHeaders),
    responses((status = 200, description = "A page of sessions", body = Page<Row>),
        (status = 404, description = "The caller is a program")),
)]
pub(super) async fn list(
    context: QueryContext,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let user = caller.user().map_err(|_a_program| Problem::not_found("user"))?;
    let after = page::after(query.cursor.as_ref())?;
    let now = context.api.store.now().await?;
    let (pool, limit) = (context.pool(), query.limit.into());
    let rows = sessions::list(pool, user.id, caller.session, now, after, limit);
    let key = |last: &Row| (last.created_at, last.id);
    context.list(Users::NAME, query.limit, rows, key).await
}

/// End a session of the caller
///
/// The session cannot be refreshed any more: its next refresh fails with `session_ended`. Its access token
/// stays valid until it expires: for 15 minutes by default. The session of this request can be ended, too.
#[utoipa::path(
    delete, path = "/api/v1/users/me/sessions/{id}", tag = tags::USERS,
    params(("id" = Uuid, Path), CommandHeaders),
    responses((status = 204, description = "The session has ended"),
        (status = 404, description = "The caller has no session with this id, or it was ended before \
            (`session_not_found`); or the caller is a program")),
)]
pub(super) async fn end(
    context: CommandContext,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let user = context.caller.user().map_err(|_a_program| Problem::not_found("user"))?;
    let response = StoredResponse::no_content("/api/v1/users/me/sessions".into())?;
    let execute = |envelope| context.api.handlers.users.end_session(id, user.id, envelope);
    context.execute(Users::NAME, response, execute).await
}
