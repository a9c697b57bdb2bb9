//! Signing in and out. Whoever knows the password is given a short access token and a refresh token
//! for the next; what they stand for is in the log, so any process can go on with a session.

use std::sync::Arc;

use axum::Json as Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::users::{Plain, SignedIn};
use eventsourcing::Metadata;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::caller::Caller;
use super::super::extract::{Form, Json};
use super::super::problem::Problem;
use super::super::request_trace::Trace;
use super::super::{Api, tags};
use crate::tokens::{JwkSet, REFRESH_MAX_CHARS};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(log_out))
}

pub(super) fn open_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(log_in)).routes(routes!(refresh)).routes(routes!(keys))
}

/// The password form of OAuth 2 (RFC 6749, 4.3).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignIn)]
pub(super) struct SignIn {
    /// The e-mail address.
    #[schema(value_type = String, example = "ada@example.org")]
    username: Plain,
    #[schema(value_type = String, format = "password", example = "correct horse")]
    password: Plain,
    #[expect(dead_code, reason = "there is only one")]
    #[schema(value_type = GrantType, required = false)]
    grant_type: Option<GrantType>,
    /// Not looked at: the role says what is allowed.
    #[expect(dead_code, reason = "clients send it")]
    #[schema(value_type = String, required = false)]
    scope: Option<String>,
    /// Not looked at: every client is a public one.
    #[expect(dead_code, reason = "clients send it")]
    #[schema(value_type = String, required = false)]
    client_id: Option<String>,
    /// Not looked at.
    #[expect(dead_code, reason = "clients send it")]
    #[schema(value_type = String, required = false)]
    client_secret: Option<Plain>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum GrantType {
    Password,
}

/// What a caller shows from now on.
#[derive(Serialize, ToSchema)]
pub(super) struct SignedInTokens {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// Always `bearer`.
    token_type: &'static str,
    /// How long the access token holds, in seconds.
    expires_in: u64,
    /// For the next access token. Holds once: the answer has the next one.
    refresh_token: String,
}

/// Sign in
///
/// Answers an access token for `Authorization: Bearer` and a refresh token for when that has
/// expired.
#[utoipa::path(
    post, path = "/api/v1/auth/login/access-token", tag = tags::USERS, security(()),
    request_body(content = SignIn, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Signed in", body = SignedInTokens,
        headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 400, description = "The body cannot be read"),
        (status = 401, description = "The address or the password is wrong"),
        (status = 415, description = "The body does not say it is a form")),
)]
async fn log_in(
    State(api): State<Arc<Api>>,
    trace: Trace,
    Form(SignIn { username, password, .. }): Form<SignIn>,
) -> Result<Response, Problem> {
    let signed_in =
        api.handlers.users.log_in(username.expose(), password, metadata(&trace)).await?;
    tokens(&api, &signed_in)
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Refresh)]
pub(super) struct Refresh {
    #[schema(max_length = 4096)]
    refresh_token: String,
}

/// Go on with a session
///
/// Answers the next pair of tokens. A refresh token holds once: one that comes a second time is a
/// copy, and ends the session for whoever has it.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = tags::USERS, security(()), request_body = Refresh,
    responses((status = 200, description = "The session goes on", body = SignedInTokens,
        headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 401, description = "The token does not hold, or the session has ended")),
)]
async fn refresh(
    State(api): State<Arc<Api>>,
    trace: Trace,
    Json { value, .. }: Json<Refresh>,
) -> Result<Response, Problem> {
    if value.refresh_token.chars().count() > REFRESH_MAX_CHARS {
        return Err(Problem::member_at("/refresh_token", "longer than any of ours"));
    }
    let claims = api.keys.check_refresh(&value.refresh_token).map_err(|error| {
        tracing::debug!(%error, "a refresh token was refused");
        commands::users::Error::NoSession
    })?;
    let users = &api.handlers.users;
    let signed_in =
        users.refresh(claims.sid, claims.sub, claims.generation, metadata(&trace)).await?;
    tokens(&api, &signed_in)
}

/// Sign out
///
/// Ends the session of the token: it cannot be refreshed any more. The token itself holds to its
/// end, which is near.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = tags::USERS,
    responses((status = 204, description = "The session has ended, if the token was of one")),
)]
async fn log_out(
    State(api): State<Arc<Api>>,
    trace: Trace,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    if let Some(session) = caller.session {
        let metadata = Metadata { actor: Some(caller.subject), ..metadata(&trace) };
        api.handlers.users.log_out(session, metadata).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Show the key that checks our tokens
///
/// As a JSON Web Key Set (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = tags::USERS, security(()),
    responses((status = 200, description = "The public key", body = JwkSet)),
)]
async fn keys(State(api): State<Arc<Api>>) -> Response {
    let cached = HeaderValue::from_static("public, max-age=300");
    ([(header::CACHE_CONTROL, cached)], Body(api.keys.jwks())).into_response()
}

fn tokens(api: &Api, signed_in: &SignedIn) -> Result<Response, Problem> {
    let failed = |error: crate::tokens::SigningError| Problem::internal(&error);
    let body = SignedInTokens {
        access_token: api.keys.access_token(signed_in, api.access_token_ttl).map_err(failed)?,
        token_type: "bearer",
        expires_in: api.access_token_ttl.as_secs(),
        refresh_token: api.keys.refresh_token(signed_in).map_err(failed)?,
    };
    let secret = HeaderValue::from_static("no-store");
    Ok(([(header::CACHE_CONTROL, secret)], Body(body)).into_response())
}

/// The caller is not known before the password or the token is checked.
fn metadata(trace: &Trace) -> Metadata {
    Metadata {
        correlation_id: Some(trace.id),
        traceparent: Some(trace.traceparent.clone()),
        ..Metadata::default()
    }
}
