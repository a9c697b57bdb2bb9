//! Metrics: one recorder for the process, and what each figure means.

use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the buckets that times fall into, in seconds.
const SECONDS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Records from now on. Asked again, by a second test in the process, it does nothing.
pub fn install() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
        match builder.map(PrometheusBuilder::install_recorder) {
            Ok(Ok(handle)) => {
                describe();
                Some(handle)
            }
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(%error, "there will be no metrics");
                None
            }
        }
    });
}

/// The figures now, in Prometheus' text form.
pub fn render() -> String {
    match RECORDER.get() {
        Some(Some(handle)) => {
            handle.run_upkeep();
            handle.render()
        }
        _ => String::new(),
    }
}

fn describe() {
    describe_histogram!(
        "tributary_http_request_seconds",
        Unit::Seconds,
        "Time until an HTTP answer began, by method, route and status"
    );
    describe_gauge!(
        "tributary_projection_position",
        "Position of the log a projection of this process has seen"
    );
    describe_counter!(
        "tributary_parked_total",
        "Streams a projection has set aside"
    );
    describe_counter!(
        "tributary_works_attempts_total",
        "Attempts at works made here, by outcome"
    );
    describe_counter!(
        "tributary_works_demands_total",
        "Demands for works taken from the bus, by outcome"
    );
}
