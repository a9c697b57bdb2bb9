//! Gauges of the position and lag of each consumer of the log. They describe the database, not this
//! process: each process renders all consumers, wherever they run.

use metrics::{describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use projections::{State, Status};

/// Reads the value of a gauge; none if the consumer has none.
type Value = fn(&Status) -> Option<f64>;

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
const GAUGES: [(&str, &str, Value); 7] = [
    ("tributary_projection_position", "Checkpoint of the consumer", |s| Some(s.position as f64)),
    ("tributary_projection_events_behind", "Events behind the head of the log", |s| {
        Some(s.events_behind as f64)
    }),
    ("tributary_projection_seconds_behind", "Age of the first unprocessed event in seconds", |s| {
        Some(s.seconds_behind)
    }),
    ("tributary_projection_events_per_second", "Events processed per second, recently", |s| {
        Some(s.events_per_second)
    }),
    ("tributary_projection_heartbeat_age_seconds", "Time since the last heartbeat", |s| {
        s.heartbeat_age_seconds
    }),
    ("tributary_projection_parked", "Parked streams", |s| Some(s.parked as f64)),
    ("tributary_projection_error", "1 while the consumer reports that it makes no progress", |s| {
        Some(f64::from(u8::from(s.error.is_some())))
    }),
];
const STATE: &str = "tributary_projection_state";

/// Renders `statuses` in Prometheus' text format. The recorder lives for this call only: gauges of
/// the process's own recorder would keep their last values while the database is down.
pub(crate) fn render(statuses: &[Status]) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    with_local_recorder(&recorder, || {
        for (name, description, _) in GAUGES {
            describe_gauge!(name, description);
        }
        describe_gauge!(STATE, "1 for the current state, 0 for the others");
        statuses.iter().for_each(record);
    });
    recorder.handle().render()
}

fn record(status: &Status) {
    for (name, _, value) in GAUGES {
        if let Some(value) = value(status) {
            gauge!(name, "projection" => status.name.clone()).set(value);
        }
    }
    for state in State::ALL {
        let current = f64::from(u8::from(status.state == state));
        let name = status.name.clone();
        gauge!(STATE, "projection" => name, "state" => state.word()).set(current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_those_that_dashboards_know() {
        let status = Status {
            name: "works".into(),
            state: State::Live,
            position: 7,
            events_behind: 0,
            seconds_behind: 0.0,
            events_per_second: 1.5,
            heartbeat_at: None,
            heartbeat_age_seconds: None,
            parked: 2,
            clock_ahead_seconds: 0.0,
            rebuild_position: None,
            error: None,
            error_since: None,
            warning: None,
        };
        let text = render(&[status]);
        for line in [
            "# TYPE tributary_projection_position gauge",
            "tributary_projection_position{projection=\"works\"} 7",
            "tributary_projection_events_behind{projection=\"works\"} 0",
            "tributary_projection_seconds_behind{projection=\"works\"} 0",
            "tributary_projection_events_per_second{projection=\"works\"} 1.5",
            "tributary_projection_parked{projection=\"works\"} 2",
            "tributary_projection_error{projection=\"works\"} 0",
            "tributary_projection_state{projection=\"works\",state=\"live\"} 1",
            "tributary_projection_state{projection=\"works\",state=\"stalled\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("heartbeat_age_seconds{"), "a consumer without heartbeat:\n{text}");
        assert_eq!(render(&[]), "", "nothing is left of an earlier call");
    }
}
