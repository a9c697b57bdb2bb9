//! Spans for whoever collects traces (OpenTelemetry). They have a target of their own, so that
//! without an exporter they are never made, and a level that logs do not show.

use std::collections::BTreeSet;
use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::RawEvent;
pub use crate::traceparent::Traceparent;

/// Target of the spans that are exported.
pub const TARGET: &str = "tributary::traced";
/// Traces one batch of events tells of, at most.
const MAX_TRACES: usize = 100;

/// A span for [`TARGET`], with the fields given.
#[macro_export]
macro_rules! traced {
    ($name:literal $(, $($fields:tt)*)?) => {
        tracing::debug_span!(target: $crate::otel::TARGET, $name $(, $($fields)*)?)
    };
}

/// Makes `span` part of the trace that a W3C `traceparent` names. What is none changes nothing.
pub fn follow(span: &Span, traceparent: &str) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = read(traceparent) {
        let parent = opentelemetry::Context::new().with_remote_span_context(parent);
        // Refused only for spans that have begun to tell of themselves, or are not exported.
        drop(span.set_parent(parent));
    }
}

/// The same, for a span that nothing around it has made part of a trace.
pub fn follow_if_alone(span: &Span, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent
        && !span.is_disabled()
        && Span::current().is_disabled()
    {
        follow(span, traceparent);
    }
}

/// What follows from `span` is traced under this `traceparent`; none if it is not exported.
pub fn traceparent(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    let flags = context.trace_flags().to_u8() & TraceFlags::SAMPLED.to_u8();
    let valid = context.is_valid();
    valid.then(|| format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id()))
}

/// A span in each trace that `events` belong to, a hundred at most. They last until they are
/// dropped.
pub fn each(events: &[Arc<RawEvent>], span: impl Fn() -> Span) -> Vec<Span> {
    if span().is_disabled() {
        return Vec::new();
    }
    let metadata = events.iter().filter_map(|event| event.metadata().ok());
    let traces = metadata.filter_map(|metadata| metadata.traceparent);
    let mut known = BTreeSet::new();
    for traceparent in traces {
        if known.len() < MAX_TRACES {
            known.insert(traceparent);
        }
    }
    let within = |traceparent: &String| {
        let span = span();
        follow(&span, traceparent);
        span
    };
    known.iter().map(within).collect()
}

fn read(traceparent: &str) -> Option<SpanContext> {
    let Traceparent { trace_id, span_id, sampled } = Traceparent::parse(traceparent)?;
    let (trace, span) = (TraceId::from(trace_id), SpanId::from(span_id));
    let flags = TraceFlags::default().with_sampled(sampled);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read() {
        let context = read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        let none = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for text in ["", "00", "00-x-y-z", none] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn without_an_exporter_nothing_is_made() {
        let span = traced!("nobody listens");
        follow(&span, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(traceparent(&span), None);
        assert!(each(&[], || traced!("nobody listens")).is_empty());
    }
}
