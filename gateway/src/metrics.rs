//! Metrics: one recorder for the process, and the list of what each figure means.

use std::sync::{Mutex, OnceLock, PoisonError};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of the buckets that times fall into, in seconds.
const SECONDS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Upper bounds of the buckets that numbers of events fall into.
const EVENTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 5000.0];

/// What only grows.
const COUNTERS: [(&str, &str); 16] = [
    ("tributary_events_appended_total", "Events this process appended to the log"),
    ("tributary_relay_published_total", "Events published to the bus"),
    ("tributary_relay_rewinds_total", "Times the bus had lost events that were then sent again"),
    ("tributary_relay_errors_total", "Times publishing to the bus was interrupted"),
    ("tributary_parked_total", "Streams that a consumer parked"),
    (
        "tributary_consumer_restarts_total",
        "Restarts of consumers, by cause: error, panic, or fenced by another process",
    ),
    ("tributary_works_attempts_total", "Attempts at works made here, by outcome"),
    ("tributary_works_demands_total", "Demands for works taken from the bus, by outcome"),
    ("tributary_bridge_received_total", "Messages the bridge took from the broker"),
    ("tributary_bridge_appended_total", "Messages of the bridge that became events"),
    ("tributary_bridge_duplicate_total", "Messages of the bridge that were in the log already"),
    ("tributary_bridge_rejected_total", "Messages of the bridge recorded as rejected"),
    ("tributary_bridge_qos0_total", "Messages of the bridge that nobody waits for"),
    ("tributary_bridge_connects_total", "Times the bridge connected to the broker"),
    (
        "tributary_bridge_refused_total",
        "Times the bridge and the broker did not come together, by reason",
    ),
    ("tributary_bridge_retries_total", "Times the bridge had to append again"),
];

/// What goes up and down.
const GAUGES: [(&str, &str); 3] = [
    ("tributary_relay_position", "Position up to which the bus holds the log"),
    ("tributary_bridge_in_flight", "Messages the bridge took and has not settled"),
    ("tributary_bridge_connected", "1 while the bridge is connected to the broker"),
];

/// Writes down figures that must agree with each other.
type Collector = Box<dyn Fn() + Send>;

/// Asked at each look, so that what is shown together was true together.
static COLLECTORS: Mutex<Vec<Collector>> = Mutex::new(Vec::new());

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Records from now on. Asked again, by a second test in the process, it does nothing.
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
                Some(handle)
            }
            Err(error) => {
                tracing::warn!(%error, "there will be no metrics");
                None
            }
        }
    });
}

/// Asks `collector` for its figures whenever somebody looks.
pub fn collect(collector: impl Fn() + Send + 'static) {
    COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(collector));
}

/// The figures now, in Prometheus' text form.
pub fn render() -> String {
    // Held until all is written: nobody else's look comes in between.
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
    for (name, meaning) in GAUGES {
        describe_gauge!(name, meaning);
    }
    describe_histogram!(
        "tributary_http_request_seconds",
        Unit::Seconds,
        "Time until an HTTP answer began, by method, route and status"
    );
    describe_histogram!("tributary_append_batch_events", "Events committed together");
}
