//! Logging to stderr, and the export of spans, while a command runs.

use std::io::IsTerminal;

use anyhow::Context;
use eventstore::otel;
use tracing::Metadata;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::exporter::Exporter;
use gateway::config::{Log, LogFormat, Traces};

/// Starts logging, and the export of spans if an endpoint is given; the export ends when the
/// exporter is dropped. A second call in the same process changes nothing.
pub(super) fn start(log: &Log, traces: &Traces) -> anyhow::Result<Option<Exporter>> {
    let filter = EnvFilter::try_new(&log.log).context("--log is not a valid filter")?;
    let exporter = Exporter::of(traces)?;
    let plain = log.no_color.as_ref().is_some_and(|value| !value.is_empty());
    let written = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(!plain && std::io::stderr().is_terminal());
    let written = match log.log_format {
        LogFormat::Text => written.boxed(),
        LogFormat::Json => written.json().boxed(),
    };
    let exported = exporter.as_ref().map(|exporter| {
        tracing_opentelemetry::layer()
            .with_tracer(exporter.tracer())
            .with_location(false)
            .with_threads(false)
            .with_filter(filter_fn(is_exported))
    });
    let written = written.with_filter(filter);
    if let Err(error) = tracing_subscriber::registry().with(written).with(exported).try_init() {
        tracing::debug!(%error, "logging already started");
    }
    Ok(exporter)
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == otel::TARGET
}
