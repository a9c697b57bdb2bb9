//! Sessions of the console: the refresh token is in a cookie that no script can read, and the access token
//! in the memory of the page (ADR 29).

use std::sync::Arc;

use axum::Json as Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use commands::users::{Plain, SignedIn};
use eventsourcing::Metadata;

use super::super::admission::ClientAddress;
use super::super::console_request::{ConsoleHeaders, ConsoleRequest};
use super::super::prelude::*;
use super::super::request_trace::RequestTrace;
use crate::tokens::RefreshClaims;

/// An e-mail address with its password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Credentials)]
pub(super) struct Credentials {
    /// The e-mail address.
    #[schema(value_type = String, example = "ada@example.org")]
    username: Plain,
    /// The password.
    #[schema(value_type = String, format = "password", example = "correct horse")]
    password: Plain,
}

/// A code that `tributary dev` has printed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OneTimeCode)]
pub(super) struct OneTimeCode {
    /// Valid once.
    code: String,
}

/// The access token of a session whose refresh token is in the cookie.
#[derive(Serialize, ToSchema)]
#[schema(as = CookieSession)]
pub(super) struct CookieSession {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// Always `bearer`.
    token_type: &'static str,
    /// Lifetime of the access token, in seconds.
    expires_in: u64,
}

/// Begin a session with a cookie
///
/// For pages of this server. The refresh token is in the cookie `tributary_refresh`, which scripts cannot
/// read, and which browsers send to this server only. Other clients sign in at
/// `/api/v1/auth/login/access-token`.
#[utoipa::path(
    post, path = "/api/v1/auth/session", tag = tags::USERS, security(()), params(ConsoleHeaders),
    request_body = Credentials,
    responses((status = 200, description = "Signed in", body = CookieSession,
        headers(("Cache-Control" = String, description = "`no-store`"),
            ("Set-Cookie" = String, description = "The refresh token"))),
        (status = 401, description = "The e-mail address or the password is wrong (`invalid_credentials`)"),
        (status = 403, description = "The request is not one of a page of this server (`cross_site_request`)")),
)]
pub(super) async fn begin(
    State(api): State<Arc<Api>>,
    trace: RequestTrace,
    address: ClientAddress,
    request: ConsoleRequest,
    Json { value: Credentials { username, password } }: Json<Credentials>,
) -> Result<Response, Problem> {
    api.admission.sign_in(address, username.expose())?;
    let users = &api.handlers.users;
    let signed_in = users.log_in(username.expose(), password, trace.metadata()).await?;
    respond(&api, &request, &signed_in)
}

/// Begin a session with a one-time code
///
/// `tributary dev` prints a link to the console with a code, which is valid once and for ten minutes.
#[utoipa::path(
    post, path = "/api/v1/auth/session/code", tag = tags::USERS, security(()),
    params(ConsoleHeaders), request_body = OneTimeCode,
    responses((status = 200, description = "Signed in", body = CookieSession,
        headers(("Cache-Control" = String, description = "`no-store`"),
            ("Set-Cookie" = String, description = "The refresh token"))),
        (status = 401, description = "The code is unknown, was used or has expired (`invalid_code`)"),
        (status = 403, description = "The request is not one of a page of this server (`cross_site_request`)")),
)]
pub(super) async fn begin_by_code(
    State(api): State<Arc<Api>>,
    trace: RequestTrace,
    address: ClientAddress,
    request: ConsoleRequest,
    Json { value: OneTimeCode { code } }: Json<OneTimeCode>,
) -> Result<Response, Problem> {
    api.admission.one_time_code(address)?;
    let user_id = api.one_time_codes.redeem(&code).ok_or_else(|| {
        let challenge = HeaderValue::from_static(r#"Bearer realm="tributary""#);
        let detail = "the code is unknown, was used or has expired; sign in with a password";
        Problem::new(StatusCode::UNAUTHORIZED, "invalid_code", detail)
            .header(header::WWW_AUTHENTICATE, challenge)
    })?;
    let signed_in = api.handlers.users.begin_session(user_id, trace.metadata()).await?;
    respond(&api, &request, &signed_in)
}

/// Refresh a session with a cookie
///
/// Returns the next access token, and the next refresh token in the cookie. The rules are those of
/// `/api/v1/auth/refresh`.
#[utoipa::path(
    post, path = "/api/v1/auth/session/refresh", tag = tags::USERS, security(()),
    params(ConsoleHeaders),
    responses((status = 200, description = "The next access token", body = CookieSession,
        headers(("Cache-Control" = String, description = "`no-store`"),
            ("Set-Cookie" = String, description = "The next refresh token"))),
        (status = 401, description = "The request has no valid cookie, or the session has ended (`session_ended`)"),
        (status = 403, description = "The request is not one of a page of this server (`cross_site_request`)")),
)]
pub(super) async fn refresh(
    State(api): State<Arc<Api>>,
    trace: RequestTrace,
    request: ConsoleRequest,
) -> Result<Response, Problem> {
    let refreshed = async {
        let claims = claims(&api, &request).ok_or(commands::users::Error::NoSession)?;
        api.handlers.users.refresh(&claims.token(api.refresh_grace), trace.metadata()).await
    };
    match refreshed.await {
        Ok(signed_in) => respond(&api, &request, &signed_in),
        Err(error @ commands::users::Error::NoSession) => Err(request.no_cookie().on(error.into())),
        Err(error) => Err(error.into()),
    }
}

/// End a session with a cookie
///
/// Ends the session of the cookie, so that it cannot be refreshed, and removes the cookie. Access tokens
/// stay valid until they expire.
#[utoipa::path(
    delete, path = "/api/v1/auth/session", tag = tags::USERS, security(()), params(ConsoleHeaders),
    responses((status = 204, description = "The session has ended, or there is none",
            headers(("Set-Cookie" = String, description = "Removes the cookie"))),
        (status = 403, description = "The request is not one of a page of this server (`cross_site_request`)")),
)]
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    trace: RequestTrace,
    request: ConsoleRequest,
) -> Result<Response, Problem> {
    if let Some(claims) = claims(&api, &request) {
        let metadata = Metadata { actor: Some(claims.sub.to_string()), ..trace.metadata() };
        api.handlers.users.log_out(claims.sid, metadata).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    request.no_cookie().write(response.headers_mut());
    Ok(response)
}

/// The claims of the refresh token in the cookie; `None` without a valid one.
fn claims(api: &Api, request: &ConsoleRequest) -> Option<RefreshClaims> {
    let checked = api.keys.check_refresh(request.refresh_token.as_deref()?);
    checked.inspect_err(|error| tracing::debug!(%error, "refresh token refused")).ok()
}

fn respond(api: &Api, request: &ConsoleRequest, signed_in: &SignedIn) -> Result<Response, Problem> {
    let failed = |error: crate::tokens::SigningError| Problem::internal(&error);
    let refresh_token = api.keys.refresh_token(signed_in).map_err(failed)?;
    let body = CookieSession {
        access_token: api.keys.access_token(signed_in, api.access_token_ttl).map_err(failed)?,
        token_type: "bearer",
        expires_in: api.access_token_ttl.as_secs(),
    };
    let mut response = ([(header::CACHE_CONTROL, "no-store")], Body(body)).into_response();
    request.cookie(&refresh_token, signed_in.expires_at).write(response.headers_mut());
    Ok(response)
}
