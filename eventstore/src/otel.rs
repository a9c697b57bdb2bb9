//! OpenTelemetry spans. They have a target of their own, so that they are only created when an
//! exporter is configured, and the level debug, which logs do not show.

use std::collections::BTreeSet;
use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::RawEvent;
pub use crate::traceparent::Traceparent;

/// Target of the exported spans.
pub const TARGET: &str = "tributary::traced";
/// Most traces that one batch of events adds spans to.
const MAX_TRACES: usize = 100;

/// Creates a span with the target [`otel::TARGET`](crate::otel::TARGET) and the fields given.
#[macro_export]
macro_rules! otel_span {
    ($name:literal $(, $($fields:tt)*)?) => {
        tracing::debug_span!(target: $crate::otel::TARGET, $name $(, $($fields)*)?)
    };
}

/// Makes `span` a child of the span that a W3C `traceparent` names. An invalid one is ignored.
pub fn set_parent(span: &Span, traceparent: &str) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = parse(traceparent) {
        let parent = opentelemetry::Context::new().with_remote_span_context(parent);
        // Fails only for a span that was entered already or is not exported.
        drop(span.set_parent(parent));
    }
}

/// Does the same as [`set_parent`], unless the current span is exported and hence the parent.
pub fn set_parent_if_root(span: &Span, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent
        && !span.is_disabled()
        && Span::current().is_disabled()
    {
        set_parent(span, traceparent);
    }
}

/// Returns the W3C `traceparent` for what `span` causes; none if the span is not exported.
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

/// Creates a span in each trace that `events` belong to, at most 100. A span ends when dropped.
pub fn span_per_trace(events: &[Arc<RawEvent>], span: impl Fn() -> Span) -> Vec<Span> {
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
        set_parent(&span, traceparent);
        span
    };
    known.iter().map(within).collect()
}

fn parse(traceparent: &str) -> Option<SpanContext> {
    let Traceparent { trace_id, span_id, sampled } = Traceparent::parse(traceparent)?;
    let (trace, span) = (TraceId::from(trace_id), SpanId::from(span_id));
    let flags = TraceFlags::default().with_sampled(sampled);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_parsed() {
        let context = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        let none = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for text in ["", "00", "00-x-y-z", none] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn without_an_exporter_no_span_is_created() {
        let span = otel_span!("not exported");
        set_parent(&span, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(traceparent(&span), None);
        assert!(span_per_trace(&[], || otel_span!("not exported")).is_empty());
    }
}
