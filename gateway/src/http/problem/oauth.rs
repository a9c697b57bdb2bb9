//! Errors of the token endpoint in the shape of OAuth 2 (RFC 6749, 5.2), which client libraries read:
//! the problem with the members `error` and `error_description`.

use axum::http::StatusCode;
use utoipa::ToSchema;

use super::Problem;

/// Path of the token endpoint.
pub(in super::super) const TOKEN_ENDPOINT: &str = "/api/v1/auth/login/access-token";

/// The members of OAuth 2 in an error of the token endpoint. The other members are those of a problem.
#[derive(Debug, ToSchema)]
#[schema(as = OAuthError)]
#[expect(dead_code, reason = "for the document")]
pub(in super::super) struct OAuthError {
    /// `invalid_request`, `invalid_grant` (wrong e-mail address or password),
    /// `unsupported_grant_type`, `temporarily_unavailable` or `server_error`.
    #[schema(example = "invalid_grant")]
    error: String,
    /// What happened in this request, for people.
    error_description: String,
    /// Stable name of the problem, as in all problems.
    code: String,
}

/// Adds the members. A body that cannot be read is 400, as the RFC requires, instead of 422.
pub(super) fn shape(mut problem: Problem) -> Problem {
    let error = match problem.status {
        StatusCode::UNAUTHORIZED => "invalid_grant",
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            "temporarily_unavailable"
        }
        status if status.is_server_error() => "server_error",
        _ if problem.code == UNSUPPORTED_GRANT_TYPE => UNSUPPORTED_GRANT_TYPE,
        _ => "invalid_request",
    };
    if problem.status == StatusCode::UNPROCESSABLE_ENTITY {
        problem.status = StatusCode::BAD_REQUEST;
    }
    // The RFC excludes these characters.
    let allowed = |character: &char| matches!(character, ' '..='~') && !"\"\\".contains(*character);
    let described: String = problem.detail.chars().filter(allowed).collect();
    problem.member("error", error).member("error_description", described)
}

/// The error, and the code, of a `grant_type` other than `password`.
pub(in super::super) const UNSUPPORTED_GRANT_TYPE: &str = "unsupported_grant_type";
