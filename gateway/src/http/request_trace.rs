//! The outermost layer: gives every request its place in a trace (W3C `traceparent`), a span, a
//! time limit and its share of the metrics, and writes problems down.

use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use eventstore::{otel, otel_span};
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use super::problem::{self, Problem};

const TRACEPARENT: &str = "traceparent";

/// A request's place in its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) id: Uuid,
    /// What what follows from the request is traced under.
    pub(super) traceparent: String,
}

impl Trace {
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(parse);
        let (id, flags) = given.unwrap_or_else(|| (Uuid::from_u128(rand::random()), "01"));
        let span: u64 = rand::random();
        let traceparent = format!("00-{}-{span:016x}-{flags}", id.simple());
        Self { id, traceparent }
    }

    /// The same request as the span that is exported, if one is: what follows from the request
    /// follows from that span, and it from the one the caller named.
    fn exported_as(self, span: &Span, headers: &HeaderMap) -> Self {
        if let Some(Ok(given)) = headers.get(TRACEPARENT).map(|value| value.to_str())
            && parse(given).is_some()
        {
            otel::set_parent(span, given);
        }
        let exported = otel::traceparent(span);
        let exported = exported.and_then(|text| Some((parse(&text)?.0, text)));
        exported.map_or(self, |(id, traceparent)| Self { id, traceparent })
    }

    /// 32 hexadecimal digits, as in `traceparent`.
    pub(super) fn trace_id(&self) -> String {
        self.id.simple().to_string()
    }
}

/// Trace id and flags of a well-formed `traceparent`.
fn parse(text: &str) -> Option<(Uuid, &'static str)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
    };
    let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    if !known || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    let id = Uuid::try_parse(trace).ok().filter(|id| !id.is_nil())?;
    let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    (span != "0000000000000000").then_some((id, if sampled { "01" } else { "00" }))
}

impl<S: Sync> FromRequestParts<S> for Trace {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let known = parts.extensions.get::<Self>().cloned();
        Ok(known.unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

/// The layer itself. `limit` holds until the answer begins; streams go on as long as they like.
pub(super) async fn layer(
    State(limit): State<Duration>,
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
    let trace = Trace::of(request.headers()).exported_as(&exported, request.headers());
    let trace_id = trace.trace_id();
    request.extensions_mut().insert(trace);
    let span = tracing::info_span!(parent: &exported, "request", %method, route, trace_id);
    let answer = async {
        tokio::time::timeout(limit, next.run(request))
            .await
            .unwrap_or_else(|_| Problem::too_slow(limit).into_response())
    };
    let response = problem::render(answer.instrument(span.clone()).await, &trace_id);
    let status = response.status().as_u16();
    exported.record("http.response.status_code", status);
    if response.status().is_server_error() {
        exported.record("otel.status_code", "ERROR");
    }
    let took = started.elapsed();
    tracing::debug!(parent: &span, status, ?took, "answered");
    let labels =
        [("method", method.as_str().to_owned()), ("route", route), ("status", status.to_string())];
    metrics::histogram!("tributary_http_request_seconds", &labels).record(took.as_secs_f64());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(traceparent: &'static str) -> Trace {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", traceparent.parse().unwrap());
        Trace::of(&headers)
    }

    #[test]
    fn a_trace_goes_on_under_its_id() {
        let trace = traced("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(trace.traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(trace.traceparent.ends_with("-00"));
        assert!(!trace.traceparent.contains("00f067aa0ba902b7"));
    }

    #[test]
    fn what_is_not_a_trace_is_replaced() {
        for text in [
            "",
            "nonsense",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_ne!(traced(text).trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736", "{text}");
            assert_eq!(traced(text).traceparent.len(), 55);
        }
    }
}
