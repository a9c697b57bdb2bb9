//! Export of the spans of `eventstore::otel` to an `OpenTelemetry` collector. Spans that the
//! collector does not accept in time are dropped; nothing waits for it.

use std::time::Duration;

use anyhow::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use gateway::config::Traces;

/// Timeout of one export, and of the last one when the process ends.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Exports spans on a thread of its own, and the remaining ones when it is dropped.
#[derive(Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Starts an exporter if an endpoint is configured. Must be called outside of an async runtime.
    pub(super) fn of(traces: &Traces) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &traces.otlp_endpoint else {
            return Ok(None);
        };
        let endpoint = format!("{}/v1/traces", endpoint.expose().trim_end_matches('/'));
        #[expect(clippy::disallowed_methods, reason = "it gets the TLS of client::http")]
        let http = reqwest::blocking::Client::builder()
            .tls_backend_preconfigured(client::tls(None)?)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .context("the client of --otlp-endpoint")?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(http)
            .with_endpoint(endpoint)
            .with_timeout(TIMEOUT)
            .build()
            .context("--otlp-endpoint is not usable")?;
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
        if let Err(error) = self.0.shutdown_with_timeout(TIMEOUT) {
            tracing::warn!(%error, "span exporter stopped, the last spans are lost");
        }
    }
}
