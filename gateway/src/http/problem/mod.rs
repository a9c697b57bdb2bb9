//! Every answer that is not a success, in one form (RFC 9457). A handler fails
//! with a [`Problem`]; the outermost layer writes it down, knowing the trace, and does the same to
//! whatever the framework itself refuses.

mod mapping;

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// When to come back after 503, in seconds.
const RETRY_AFTER: u64 = 1;

/// Why a request was not answered with a success.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<Fault>,
    headers: Vec<(HeaderName, HeaderValue)>,
    members: Map<String, Value>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Fault {
    /// JSON pointer to the member of the body that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pointer: Option<String>,
    /// Name of the query parameter or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameter: Option<String>,
    pub(super) detail: String,
}

/// The body of an answer that is not a success: problem details as in RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body9457 {
    /// `urn:tributary:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    status: u16,
    /// What is wrong this time.
    detail: String,
    /// Stable name of the problem, for programs.
    code: String,
    /// What is wrong, part by part.
    errors: Vec<Fault>,
    /// Names the request in our logs and traces.
    trace_id: String,
    /// Further members of some problems, such as the projection that is behind.
    #[serde(flatten)]
    #[schema(ignore)]
    members: Map<String, Value>,
}

impl Fault {
    /// A member of the body is wrong.
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

    /// What was asked for does not exist, or not for this caller.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no such {what}"))
    }

    /// The request can be read but makes no sense.
    pub(super) fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// A member of the body is wrong.
    pub(super) fn member_at(pointer: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::invalid("invalid_body", "the body is not what is asked for")
            .fault(Fault::at(pointer, detail))
    }

    /// A query parameter or header is wrong.
    pub(super) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let fault =
            Fault { pointer: None, parameter: Some(name.to_owned()), detail: detail.clone() };
        Self::invalid("invalid_parameter", format!("`{name}`: {detail}")).fault(fault)
    }

    /// We cannot answer now, but may soon.
    pub(super) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .header(header::RETRY_AFTER, RETRY_AFTER.into())
    }

    /// Our fault. What went wrong is logged, not told.
    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes: Vec<String> = std::iter::successors(error.source(), |cause| cause.source())
            .map(ToString::to_string)
            .collect();
        tracing::error!(%error, ?causes, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the request failed on our side; the trace id finds it in the log",
        )
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

    /// What a handler that took too long is answered for.
    pub(super) fn too_slow(limit: Duration) -> Self {
        Self::unavailable("timeout", format!("the request took longer than {limit:?}"))
    }

    fn write(self, trace_id: &str) -> Response {
        let body = Body9457 {
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
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(self.headers);
        response
    }
}

/// Carries the problem to the outermost layer, which writes it down.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The answer as it leaves: problems written down, and what the framework refused made one.
pub(super) fn render(mut response: Response<Body>, trace_id: &str) -> Response {
    let status = response.status();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return problem.write(trace_id);
    }
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "not with this method"),
        StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "not in this form"),
        _ if status.is_client_error() => ("bad_request", "the request cannot be read"),
        _ => ("internal_error", "the request failed on our side"),
    };
    let mut written = Problem::new(status, code, detail).write(trace_id);
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        written.headers_mut().insert(header::ALLOW, allow);
    }
    written
}

/// What a panic is answered with; the panic itself is in the log.
pub(super) fn panicked(_cause: Box<dyn std::any::Any + Send>) -> Response {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal_error",
        "the request failed on our side; the trace id finds it in the log",
    )
    .into_response()
}
