//! What is written to stderr while a command runs, and what is exported.

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

/// Starts logging, and exporting if that is asked for: until the exporter is dropped. Asked again,
/// by a test in the same process, it leaves things as they are.
pub(super) fn start(log: &Log, traces: &Traces) -> anyhow::Result<Option<Exporter>> {
    let filter = EnvFilter::try_new(&log.log).context("--log")?;
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
        tracing::debug!(%error, "logging goes on as it was");
    }
    Ok(exporter)
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == otel::TARGET
}
