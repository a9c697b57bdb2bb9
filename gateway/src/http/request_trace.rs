//! The outermost layer: gives every request its W3C trace context, an id, a span and a time limit,
//! records its metrics, writes problems as JSON, and logs refused requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use eventsourcing::Metadata;
use eventstore::otel::{self, Traceparent};
use eventstore::{Latency, otel_span};
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use super::negotiation::prefers_plain_json;
use super::problem::{self, Code, Problem, Shape, TOKEN_ENDPOINT};
use super::refusal_log::{REQUEST_ID, RefusalLog, Refused, request_id};

/// The trace context of a request: what it causes is traced under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestTrace(Traceparent);

impl RequestTrace {
    /// A new span in the caller's trace, or in a new trace if the caller names none.
    fn of(headers: &HeaderMap) -> Self {
        let span_id = rand::random();
        Self(match given(headers) {
            Some(given) => Traceparent { span_id, ..given },
            None => Traceparent { trace_id: rand::random(), span_id, sampled: true },
        })
    }

    /// The span that is exported, if there is one; it becomes a child of the caller's span.
    fn exported_as(self, span: &Span, headers: &HeaderMap) -> Self {
        if let Some(given) = given(headers) {
            otel::set_parent(span, &given.to_string());
        }
        otel::traceparent(span).and_then(|text| Traceparent::parse(&text)).map_or(self, Self)
    }

    /// The trace id: 32 hexadecimal digits.
    pub(super) fn trace_id(self) -> String {
        let Self(traceparent) = self;
        format!("{:032x}", traceparent.trace_id)
    }

    /// Metadata for the events that the request causes; the trace id is their correlation id.
    pub(super) fn metadata(self) -> Metadata {
        let Self(traceparent) = self;
        Metadata {
            correlation_id: Some(Uuid::from_u128(traceparent.trace_id)),
            traceparent: Some(traceparent.to_string()),
            ..Metadata::default()
        }
    }
}

/// The caller's `traceparent`, if there is a valid one.
fn given(headers: &HeaderMap) -> Option<Traceparent> {
    Traceparent::parse(headers.get("traceparent")?.to_str().ok()?)
}

impl<S: Sync> FromRequestParts<S> for RequestTrace {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let known = parts.extensions.get::<Self>().copied();
        Ok(known.unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

/// What the layer needs.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// The time until the response begins; streams may take longer.
    limit: Duration,
    refusals: Arc<RefusalLog>,
    /// Where the durations of commands are recorded, for the console.
    commands: Option<Latency>,
}

impl Options {
    /// Logs at most `logged_refusals` refused requests per minute.
    pub(super) fn new(limit: Duration, logged_refusals: u32) -> Self {
        Self { limit, refusals: Arc::new(RefusalLog::new(logged_refusals)), commands: None }
    }

    /// Records the durations of commands in `commands`.
    pub(super) fn recording(self, commands: Latency) -> Self {
        Self { commands: Some(commands), ..self }
    }
}

/// The layer.
pub(super) async fn layer(
    State(Options { limit, refusals, commands }): State<Options>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let exported = otel_span!(
        "http",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = %method,
        http.route = route,
        http.response.status_code = field::Empty,
    );
    let trace = RequestTrace::of(request.headers()).exported_as(&exported, request.headers());
    let trace_id = trace.trace_id();
    let request_id = request_id(request.headers(), &trace_id);
    let shape = if route == TOKEN_ENDPOINT {
        Shape::OAuth { plain_json: prefers_plain_json(request.headers()) }
    } else {
        Shape::Problem
    };
    request.extensions_mut().insert(trace);
    // At level error: a line that `--log` admits has the trace id, whatever the level.
    let span = tracing::error_span!(parent: &exported, "request", %method, route, trace_id);
    let response = async {
        tokio::time::timeout(limit, next.run(request))
            .await
            .unwrap_or_else(|_| Problem::too_slow(limit).into_response())
    };
    let response = response.instrument(span.clone()).await;
    let mut response = problem::render(response, &trace_id, shape);
    if let Some(Code(code)) = response.extensions().get() {
        let (trace_id, status) = (trace_id.as_str(), response.status());
        let (method, request_id) = (method.as_str(), request_id.as_str());
        let refused = Refused { request_id, trace_id, method, route: &route, status, code };
        span.in_scope(|| refusals.record(&refused));
    }
    if let Ok(id) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let status = response.status().as_u16();
    exported.record("http.response.status_code", status);
    if response.status().is_server_error() {
        exported.record("otel.status_code", "ERROR");
    }
    let took = started.elapsed();
    tracing::debug!(parent: &span, status, ?took, "request answered");
    if let Some(commands) = commands.filter(|_| !method.is_safe()) {
        commands.record([took]);
    }
    let method = crate::metrics::method_label(&method).to_owned();
    let labels = [("method", method), ("route", route), ("status", status.to_string())];
    metrics::histogram!("tributary_http_request_seconds", &labels).record(took.as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(traceparent: &'static str) -> RequestTrace {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", traceparent.parse().unwrap());
        RequestTrace::of(&headers)
    }

    #[test]
    fn a_request_continues_the_trace_of_its_caller_with_a_span_of_its_own() {
        let trace = traced("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let traceparent = trace.metadata().traceparent.unwrap();
        assert!(traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(traceparent.ends_with("-00"));
        assert!(!traceparent.contains("00f067aa0ba902b7"));
    }

    #[test]
    fn an_invalid_trace_context_is_replaced() {
        for text in ["", "nonsense", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"] {
            let trace = traced(text);
            assert_ne!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736", "{text}");
            assert_eq!(trace.metadata().traceparent.unwrap().len(), 55);
        }
    }
}
