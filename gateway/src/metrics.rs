//! Metrics: the recorder of the process, and the description of each metric.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::http::Method;
use eventstore::Tasks;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// Interval between two aggregations of what histograms have recorded.
const UPKEEP: Duration = Duration::from_secs(5);
/// Upper bounds of histogram buckets of durations, in seconds.
const SECONDS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Upper bounds of histogram buckets of numbers of events.
const EVENTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 5000.0];

/// Names and descriptions of the counters.
const COUNTERS: [(&str, &str); 28] = [
    ("tributary_events_appended_total", "Events this process appended to the log"),
    ("tributary_relay_published_total", "Events published to the bus"),
    ("tributary_relay_rewinds_total", "Times the relay republished events that the bus had lost"),
    ("tributary_relay_errors_total", "Times the relay failed and retried"),
    (
        "tributary_relay_foreign_total",
        "Messages of other programs that the relay found and skipped",
    ),
    ("tributary_parked_total", "Streams that a consumer parked"),
    (
        "tributary_consumer_restarts_total",
        "Restarts of consumers, by cause: error, panic, or fenced by another process",
    ),
    (
        "tributary_telemetry_values_not_aggregated_total",
        "Values of readings in no bucket, because the device has too many fields",
    ),
    (
        "tributary_readings_field_unusable_total",
        "Values of known fields that are of no use and kept as further fields, by door and field",
    ),
    (
        "tributary_readings_refused_total",
        "Readings that were refused, by door and reason; `repeated`: their sequence number was recorded \
         before with other values",
    ),
    (
        "tributary_readings_restarted_total",
        "Readings with a sequence number of before, of a device whose counter has restarted",
    ),
    ("tributary_works_attempts_total", "Attempts to execute works in this process, by outcome"),
    ("tributary_works_demands_total", "Demands for works received over NATS, by outcome"),
    ("tributary_http_refused_total", "Requests and connections over a limit, by limit"),
    ("tributary_bridge_received_total", "Messages received by the bridge"),
    ("tributary_bridge_appended_total", "Messages of the bridge appended as events"),
    (
        "tributary_bridge_duplicate_total",
        "Messages of the bridge that were duplicates of events in the log",
    ),
    ("tributary_bridge_rejected_total", "Messages of the bridge recorded as rejected"),
    (
        "tributary_bridge_qos0_total",
        "Messages of the bridge with QoS 0, which are not acknowledged",
    ),
    ("tributary_bridge_connects_total", "Times the bridge connected to the broker"),
    ("tributary_bridge_refused_total", "Connections of the bridge that failed, by reason"),
    ("tributary_bridge_retries_total", "Appends that the bridge retried"),
    ("tributary_task_panics_total", "Panics of tasks other than consumers"),
    (
        "tributary_alert_readings_late_total",
        "Readings that alert rules did not judge, because a newer one came before",
    ),
    (
        "tributary_alerts_suppressed_total",
        "Alerts that were not raised, because the rule had raised the most per hour and device",
    ),
    ("tributary_dry_runs_refused_total", "Dry runs of alert rules refused, because others ran"),
    ("tributary_presence_decisions_total", "Decisions about the presence of devices, by outcome"),
    (
        "tributary_process_commands_refused_total",
        "Commands of process managers that a decider refused, by process and code",
    ),
];

/// Counters without labels. They start at 0 with the process, so that their first increase is one.
const UNLABELLED: [&str; 10] = [
    "tributary_events_appended_total",
    "tributary_relay_published_total",
    "tributary_relay_rewinds_total",
    "tributary_relay_errors_total",
    "tributary_relay_foreign_total",
    "tributary_telemetry_values_not_aggregated_total",
    "tributary_readings_restarted_total",
    "tributary_alert_readings_late_total",
    "tributary_alerts_suppressed_total",
    "tributary_dry_runs_refused_total",
];

/// Names and descriptions of the gauges.
const GAUGES: [(&str, &str); 16] = [
    ("tributary_relay_position", "Position of the last event that the bus has acknowledged"),
    ("tributary_bridge_in_flight", "Messages received by the bridge and not yet settled"),
    ("tributary_bridge_connected", "1 while the bridge is connected to the broker"),
    (
        "tributary_bridge_state",
        "1 for the state of the bridge's connection to the broker, 0 for the others",
    ),
    ("tributary_consumer_waiting", "1 while the consumer waits for a newer build"),
    ("tributary_build_info", "1; the labels are the version and the commit of this build"),
    ("tributary_postgres_up", "1 while Postgres answers"),
    ("tributary_nats_connected", "1 while NATS answers"),
    ("tributary_intake_paused", "1 while no readings and page views are taken, because of lag"),
    ("tributary_append_failing", "1 from a failed append of this process to the next success"),
    ("tributary_last_append_timestamp_seconds", "Time of the last append of this process"),
    ("tributary_database_connections", "Connections in the pool, by state: idle or in_use"),
    ("tributary_database_connections_max", "Most connections that the pool may open"),
    (
        "tributary_clock_skew_seconds",
        "Seconds that the clock of this process is ahead of the clock of Postgres",
    ),
    (
        "tributary_clock_correction_seconds",
        "Seconds that the times of new events are ahead of the clock of Postgres",
    ),
    (
        "tributary_certificate_expiry_timestamp_seconds",
        "Time at which the first certificate of a configured file expires, by file",
    ),
];

/// Sets metrics that must be consistent with each other.
type Collector = Box<dyn Fn() + Send>;

/// Called at each rendering, so that the metrics of one collector are from the same moment.
static COLLECTORS: Mutex<Vec<Collector>> = Mutex::new(Vec::new());

/// Version and commit of this build, once the executable has named them.
static BUILD: OnceLock<(&str, &str)> = OnceLock::new();

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the recorder of the process. Further calls, as by several tests, do nothing.
pub fn install() {
    RECORDER.get_or_init(|| {
        let installed = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_events".into()), &EVENTS)
            })
            .and_then(PrometheusBuilder::install_recorder);
        match installed {
            Ok(handle) => {
                describe();
                crate::process_metrics::describe();
                collect(crate::process_metrics::export);
                Some(handle)
            }
            Err(error) => {
                tracing::warn!(%error, "metrics recorder not installed, /metrics stays empty");
                None
            }
        }
    });
}

/// Sets the metric `tributary_build_info`. The recorder is installed if it is not yet.
pub fn build_info(version: &'static str, commit: &'static str) {
    install();
    BUILD.get_or_init(|| (version, commit));
    metrics::gauge!("tributary_build_info", "version" => version, "commit" => commit).set(1);
}

/// Returns the version of this build, and its commit if it is known.
pub(crate) fn build() -> (&'static str, Option<&'static str>) {
    match BUILD.get() {
        Some((version, commit)) => {
            (version, Some(*commit).filter(|commit| !["", "unknown"].contains(commit)))
        }
        None => (env!("CARGO_PKG_VERSION"), None),
    }
}

/// Aggregates what histograms have recorded every few seconds until `shutdown`, on a task of
/// `tasks`. Without it, a process whose metrics are never read keeps every value.
pub fn keep_up(tasks: &Tasks, shutdown: CancellationToken) {
    keep_up_every(UPKEEP, tasks, shutdown);
}

fn keep_up_every(interval: Duration, tasks: &Tasks, shutdown: CancellationToken) {
    let upkeep = async move {
        let mut ticks = tokio::time::interval(interval);
        loop {
            ticks.tick().await;
            if let Some(Some(handle)) = RECORDER.get() {
                handle.run_upkeep();
            }
        }
    };
    tasks.spawn("metrics upkeep", async move { shutdown.run_until_cancelled(upkeep).await });
}

/// Counts the known `fields` of a reading whose value was not usable. A reading that is received again is
/// counted again.
pub(crate) fn count_unusable(door: &'static str, fields: impl IntoIterator<Item = &'static str>) {
    for field in fields {
        let labels = [("door", door), ("field", field)];
        metrics::counter!("tributary_readings_field_unusable_total", &labels).increment(1);
    }
}

/// Returns the label of an HTTP method: one of nine, or `other`, because clients invent methods.
pub(crate) fn method_label(method: &Method) -> &'static str {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    let names = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];
    let index = known.iter().position(|known| known == method);
    index.map_or("other", |index| names[index])
}

/// Calls `collector` before each rendering, to set its metrics.
pub fn collect(collector: impl Fn() + Send + 'static) {
    COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(collector));
}

/// Renders all metrics in Prometheus' text format.
pub fn render() -> String {
    // Locked until the end, so that no other rendering interleaves.
    let collectors = COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner);
    collectors.iter().for_each(|collect| collect());
    match RECORDER.get() {
        Some(Some(handle)) => {
            handle.run_upkeep();
            handle.render()
        }
        _ => String::new(),
    }
}

fn describe() {
    for (name, meaning) in COUNTERS {
        describe_counter!(name, meaning);
    }
    for name in UNLABELLED {
        metrics::counter!(name).increment(0);
    }
    for (name, meaning) in GAUGES {
        describe_gauge!(name, meaning);
    }
    describe_histogram!(
        "tributary_http_request_seconds",
        Unit::Seconds,
        "Time to the first byte of an HTTP response, by method, route and status"
    );
    describe_histogram!(
        "tributary_database_acquire_seconds",
        Unit::Seconds,
        "Time until the pool gave a connection, measured once a second"
    );
    describe_histogram!("tributary_append_batch_events", "Events per commit of the appender");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident memory of this process in bytes.
    fn resident() -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    #[tokio::test]
    async fn a_process_that_is_never_scraped_keeps_no_values() {
        const CHUNKS: u64 = 24;
        const VALUES: u64 = 200_000;
        install();
        let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        keep_up_every(Duration::from_millis(1), &tasks, shutdown.clone());
        let recorded = metrics::histogram!("test_upkeep_seconds");
        let mut growths = Vec::new();
        // Other tests of this process take memory, too: values that are kept show in every round.
        while growths.len() < 5 && growths.iter().all(|growth| *growth >= CHUNKS * VALUES * 8 / 2) {
            let before = resident();
            for _ in 0..CHUNKS {
                (0..VALUES).for_each(|_| recorded.record(0.5));
                tokio::task::yield_now().await; // The upkeep is due and runs.
            }
            growths.push(resident().saturating_sub(before));
        }
        assert!(growths.len() < 5, "bytes more in each round: {growths:?}");
        shutdown.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[test]
    fn an_invented_method_is_other() {
        assert_eq!(method_label(&Method::PATCH), "PATCH");
        for name in ["INVENTED1", "get", "PROPFIND"] {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(method_label(&method), "other");
        }
    }
}
