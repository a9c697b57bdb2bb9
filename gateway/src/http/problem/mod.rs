//! Error responses: problem details as in RFC 9457. A handler returns a [`Problem`]; the outermost
//! layer writes it with the trace id, and turns the error responses of the framework into problems,
//! too.

mod mapping;
mod oauth;

pub(super) use oauth::{OAuthError, TOKEN_ENDPOINT, UNSUPPORTED_GRANT_TYPE};

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Media type of problems.
const PROBLEM_JSON: &str = "application/problem+json";
/// `Retry-After` of a 503, in seconds.
const RETRY_AFTER: u64 = 1;
/// Detail of every 500.
const INTERNAL_ERROR: &str =
    "the server failed to process the request; its log has the cause under the trace id";
/// Detail of every 422 whose faults are in the body.
pub(super) const INVALID_BODY: &str = "the body is invalid; `errors` lists the faults";

/// Why a request failed.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<Fault>,
    headers: Vec<(HeaderName, HeaderValue)>,
    members: Map<String, Value>,
}

/// One fault in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Fault {
    /// JSON pointer (RFC 6901) to the invalid member of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pointer: Option<String>,
    /// Name of the invalid query parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameter: Option<String>,
    /// What is invalid, in words.
    pub(super) detail: String,
}

/// The body of an error response: problem details as in RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// `urn:tributary:problem:` followed by the code.
    #[serde(rename = "type")]
    kind: String,
    /// Reason phrase of the status.
    title: String,
    /// Status code of the response.
    status: u16,
    /// What happened in this request, why, and what to do; for people.
    detail: String,
    /// Stable name of the problem, for programs: see the API documentation.
    code: String,
    /// The faults in the request, one by one; empty if the request as a whole failed.
    errors: Vec<Fault>,
    /// Identifies the request in logs and traces: 32 hexadecimal digits.
    trace_id: String,
    /// Further members of some problems, such as `projection` and `position` of
    /// `projection_behind`.
    #[serde(flatten)]
    #[schema(ignore)]
    members: Map<String, Value>,
}

impl Fault {
    /// A fault in a member of the body.
    pub(super) fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, detail: detail.into() }
    }
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
            members: Map::new(),
        }
    }

    /// 404: the resource does not exist, or is not visible to this caller.
    pub(super) fn not_found(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no such {name}, or it is not visible to this caller"),
        )
    }

    /// 401 with this challenge (RFC 6750).
    pub(super) fn unauthenticated(detail: &str, challenge: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// 422: the request is well-formed but invalid.
    pub(super) fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 422: a member of the body is invalid.
    pub(super) fn member_at(pointer: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::invalid("invalid_body", INVALID_BODY).fault(Fault::at(pointer, detail))
    }

    /// 422: a query parameter or header is invalid.
    pub(super) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let fault =
            Fault { pointer: None, parameter: Some(name.to_owned()), detail: detail.clone() };
        Self::invalid("invalid_parameter", format!("`{name}`: {detail}")).fault(fault)
    }

    /// 503: the request may succeed when it is repeated.
    pub(super) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .header(header::RETRY_AFTER, RETRY_AFTER.into())
    }

    /// 429: the client is over a limit; the request may succeed when it is repeated after `wait`.
    pub(super) fn too_many(code: &'static str, detail: impl Into<String>, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
            .header(header::RETRY_AFTER, seconds.max(1).into())
    }

    /// 500. The error and its causes are logged, and not sent to the caller.
    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes: Vec<String> = std::iter::successors(error.source(), |cause| cause.source())
            .map(ToString::to_string)
            .collect();
        tracing::error!(%error, ?causes, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", INTERNAL_ERROR)
    }

    #[must_use]
    pub(super) fn fault(mut self, fault: Fault) -> Self {
        self.errors.push(fault);
        self
    }

    #[must_use]
    pub(super) fn faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.errors.extend(faults);
        self
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    #[must_use]
    pub(super) fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// 503: the handler did not respond within `limit`.
    pub(super) fn too_slow(limit: Duration) -> Self {
        Self::unavailable("timeout", format!("the request took longer than {limit:?}; retry later"))
    }

    fn write(self, trace_id: &str, shape: Shape) -> Response {
        let (problem, media_type) = match shape {
            Shape::Problem => (self, PROBLEM_JSON),
            Shape::OAuth { plain_json: true } => (oauth::shape(self), "application/json"),
            Shape::OAuth { plain_json: false } => (oauth::shape(self), PROBLEM_JSON),
        };
        problem.written(trace_id, media_type)
    }

    fn written(self, trace_id: &str, media_type: &'static str) -> Response {
        let body = ProblemBody {
            kind: format!("urn:tributary:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            errors: self.errors,
            trace_id: trace_id.to_owned(),
            members: self.members,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is not read, so the connection cannot serve another request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.headers_mut().extend(self.headers);
        response.extensions_mut().insert(Code(self.code));
        response
    }
}

/// The form of an error response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A problem.
    Problem,
    /// A problem with the members of OAuth 2; as `application/json` for callers that prefer it.
    OAuth { plain_json: bool },
}

/// The code of a problem, as an extension of its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub(super) &'static str);

/// Carries the problem to the outermost layer, which writes it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the problem of a response, or a problem in place of an error response of the framework.
pub(super) fn render(mut response: Response<Body>, trace_id: &str, shape: Shape) -> Response {
    match problem_in(&mut response) {
        Some(problem) => problem.write(trace_id, shape),
        None => response,
    }
}

/// The problem of an error response.
fn problem_in(response: &mut Response<Body>) -> Option<Problem> {
    let status = response.status();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let encodings = response.headers_mut().remove(header::ACCEPT_ENCODING);
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => ("not_found", "there is no resource at this path"),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("method_not_allowed", "the resource does not support this method; see `Allow`")
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("body_too_large", "the body is larger than this server accepts")
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE if encodings.is_some() => (
            "unsupported_content_encoding",
            "the content encoding is not supported; see `Accept-Encoding`",
        ),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("unsupported_media_type", "the content type is not supported")
        }
        _ if status.is_client_error() => ("bad_request", "the request is malformed"),
        _ => ("internal_error", INTERNAL_ERROR),
    };
    let allow = response.headers_mut().remove(header::ALLOW);
    let headers = [(header::ALLOW, allow), (header::ACCEPT_ENCODING, encodings)];
    let known = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Some(known.fold(Problem::new(status, code, detail), |problem, (name, value)| {
        problem.header(name, value)
    }))
}

/// 500 for a handler that panicked; the panic is in the log.
pub(super) fn panicked(_cause: Box<dyn std::any::Any + Send>) -> Response {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", INTERNAL_ERROR)
        .into_response()
}
