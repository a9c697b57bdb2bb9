//! Spans of `eventstore::otel_span` on their way to an `OpenTelemetry` collector. What the collector
//! does not take in time is dropped; nobody waits for it.

use std::time::Duration;

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use gateway::config::Traces;

/// How long one export may take, and what is left at the end of the process.
const PATIENCE: Duration = Duration::from_secs(3);

/// Sends what is left when it is dropped.
#[derive(Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// An exporter, if one is asked for. Not from within a runtime: it has a thread of its own.
    pub(super) fn of(traces: &Traces) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &traces.otlp_endpoint else {
            return Ok(None);
        };
        let endpoint = format!("{}/v1/traces", endpoint.expose().trim_end_matches('/'));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(endpoint)
            .with_timeout(PATIENCE)
            .build()
            .context("--otlp-endpoint")?;
        let resource = Resource::builder().with_service_name(traces.otel_service_name.clone());
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Some(Self(provider)))
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.0.tracer("tributary")
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}
