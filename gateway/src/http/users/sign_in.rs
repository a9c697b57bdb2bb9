//! Signing in and out. A correct password gets a short-lived access token and a refresh token for
//! the next one. Sessions are stored in the log, so any process can refresh them.

use std::sync::Arc;

use axum::Json as Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use commands::users::{Plain, SignedIn};
use eventsourcing::Metadata;

use super::super::admission::ClientAddress;
use super::super::extract::Form;
use super::super::prelude::*;
use super::super::problem::{OAuthError, UNSUPPORTED_GRANT_TYPE};
use super::super::request_trace::RequestTrace;
use crate::tokens::{JwkSet, REFRESH_MAX_CHARS};

/// The password grant of OAuth 2 (RFC 6749, 4.3). Other parameters are ignored, as the RFC requires.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SignIn)]
pub(super) struct SignIn {
    /// The e-mail address.
    #[schema(value_type = String, example = "ada@example.org")]
    username: Plain,
    /// The password.
    #[schema(value_type = String, format = "password", example = "correct horse")]
    password: Plain,
    /// `password` is the only grant type, and the default.
    #[schema(value_type = GrantType, required = false)]
    grant_type: Option<String>,
    /// Ignored: permissions follow from the user's role.
    #[expect(dead_code, reason = "clients send it")]
    #[schema(value_type = String, required = false)]
    scope: Option<String>,
    /// Ignored: every client is a public client.
    #[expect(dead_code, reason = "clients send it")]
    #[schema(value_type = String, required = false)]
    client_id: Option<String>,
    /// Ignored.
    #[expect(dead_code, reason = "clients send it")]
    #[schema(value_type = String, required = false)]
    client_secret: Option<Plain>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the document")]
enum GrantType {
    Password,
}

/// The tokens of a session.
#[derive(Serialize, ToSchema)]
pub(super) struct SignedInTokens {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// Always `bearer`.
    token_type: &'static str,
    /// Lifetime of the access token, in seconds.
    expires_in: u64,
    /// Valid for one refresh, which returns the next refresh token.
    refresh_token: String,
}

/// Sign in
///
/// Returns an access token for `Authorization: Bearer`, and a refresh token for the time when the
/// access token has expired. An unknown e-mail address and a wrong password take equally long and
/// return the same error. Errors have the members `error` and `error_description` of OAuth 2 (RFC 6749,
/// 5.2), and are `application/json` for callers whose `Accept` prefers it. Credentials of a client, in
/// the form or in `Authorization`, are ignored.
#[utoipa::path(
    post, path = "/api/v1/auth/login/access-token", tag = tags::USERS, security(()),
    request_body(content = SignIn, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Signed in", body = SignedInTokens,
        headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 400, description = "The body cannot be read or lacks a parameter (`invalid_request`), or has another grant type (`unsupported_grant_type`)", body = OAuthError),
        (status = 401, description = "The e-mail address or the password is wrong (`invalid_credentials`, in OAuth `invalid_grant`)", body = OAuthError),
        (status = 415, description = "The content type is not that of a form", body = OAuthError)),
)]
pub(super) async fn log_in(
    State(api): State<Arc<Api>>,
    trace: RequestTrace,
    address: ClientAddress,
    Form(SignIn { username, password, grant_type, .. }): Form<SignIn>,
) -> Result<Response, Problem> {
    // An empty parameter counts as missing (RFC 6749, 3.2).
    if grant_type.is_some_and(|kind| !["", "password"].contains(&kind.as_str())) {
        let detail = "the only grant type is `password`; refresh at /api/v1/auth/refresh";
        return Err(Problem::new(StatusCode::BAD_REQUEST, UNSUPPORTED_GRANT_TYPE, detail));
    }
    api.admission.sign_in(address, username.expose())?;
    let users = &api.handlers.users;
    let signed_in = users.log_in(username.expose(), password, trace.metadata()).await?;
    tokens(&api, &signed_in)
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Refresh)]
pub(super) struct Refresh {
    /// The refresh token of the last sign-in or refresh.
    #[schema(max_length = 4096)]
    refresh_token: String,
}

/// Refresh a session
///
/// Returns the next access and refresh token. A refresh token is valid once. For a few seconds
/// (`--refresh-grace`, 10 s by default) the one that was just replaced gets the current one again, so
/// that two tabs may refresh at once and a lost answer may be repeated. Later, and with an older token,
/// its use shows that it was copied, and ends the session for both holders.
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = tags::USERS, security(()), request_body = Refresh,
    responses((status = 200, description = "The next tokens", body = SignedInTokens,
        headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 401, description = "The token is invalid, or the session has ended (`session_ended`)")),
)]
pub(super) async fn refresh(
    State(api): State<Arc<Api>>,
    trace: RequestTrace,
    Json { value }: Json<Refresh>,
) -> Result<Response, Problem> {
    if value.refresh_token.chars().count() > REFRESH_MAX_CHARS {
        let detail = format!("must be at most {REFRESH_MAX_CHARS} characters");
        return Err(Problem::member_at("/refresh_token", detail));
    }
    let claims = api.keys.check_refresh(&value.refresh_token).map_err(|error| {
        tracing::debug!(%error, "refresh token refused");
        commands::users::Error::NoSession
    })?;
    let users = &api.handlers.users;
    let signed_in = users.refresh(&claims.token(api.refresh_grace), trace.metadata()).await?;
    tokens(&api, &signed_in)
}

/// Sign out
///
/// Ends the session of the token, so that it cannot be refreshed. The access token stays valid
/// until it expires.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = tags::USERS,
    responses((status = 204, description = "The session has ended, or the token belongs to none")),
)]
pub(super) async fn log_out(
    State(api): State<Arc<Api>>,
    trace: RequestTrace,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    if let Some(session) = caller.session {
        let metadata = Metadata { actor: Some(caller.subject), ..trace.metadata() };
        api.handlers.users.log_out(session, metadata).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Sign out everywhere
///
/// Ends all sessions of the caller at their next refresh, including this one. Access tokens stay valid
/// until they expire: for 15 minutes by default.
#[utoipa::path(
    post, path = "/api/v1/auth/logout-everywhere", tag = tags::USERS,
    responses((status = 204, description = "No session of the caller can be refreshed any more"),
        (status = 404, description = "The caller never registered")),
)]
pub(super) async fn log_out_everywhere(
    State(api): State<Arc<Api>>,
    trace: RequestTrace,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    let id = caller.user()?.id;
    let metadata = Metadata { actor: Some(caller.subject), ..trace.metadata() };
    api.handlers.users.log_out_everywhere(id, metadata).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show the public keys of the tokens
///
/// As a JSON Web Key Set (RFC 7517). Two keys while the signing key is being replaced; each token
/// names its key.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = tags::USERS, security(()),
    responses((status = 200, description = "The public keys", body = JwkSet)),
)]
pub(super) async fn keys(State(api): State<Arc<Api>>) -> Response {
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
