//! How far every reader of the log is behind it, in Prometheus' text form. These figures are the
//! database's, not this process's: each process shows all of them, of readers that run elsewhere or
//! not at all, too.

use std::fmt::Write;

use projections::{State, Status};

/// A figure of one reader; none if it has none.
type Figure = fn(&Status) -> Option<f64>;

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
const GAUGES: [(&str, &str, Figure); 6] = [
    ("position", "Position a reader of the log has seen", |s| Some(s.position as f64)),
    ("events_behind", "Events of the log it has not seen", |s| Some(s.events_behind as f64)),
    ("seconds_behind", "Age of the first event it has not seen", |s| Some(s.seconds_behind)),
    ("events_per_second", "Events a second it has moved past of late", |s| {
        Some(s.events_per_second)
    }),
    ("heartbeat_age_seconds", "Time since whoever runs it last showed life", |s| {
        s.heartbeat_age_seconds
    }),
    ("parked", "Streams it has set aside", |s| Some(s.parked as f64)),
];

/// The figures of all of `statuses`. Names need no escaping: they are our own.
pub(crate) fn render(statuses: &[Status]) -> String {
    let mut text = String::new();
    for (name, meaning, figure) in GAUGES {
        head(&mut text, name, meaning);
        for status in statuses {
            if let Some(value) = figure(status) {
                let labels = format!("projection=\"{}\"", status.name);
                line(&mut text, name, &labels, value);
            }
        }
    }
    head(&mut text, "state", "1 for what it is doing, 0 for everything else");
    for status in statuses {
        for state in State::ALL {
            let labels = format!("projection=\"{}\",state=\"{}\"", status.name, state.word());
            line(&mut text, "state", &labels, f64::from(u8::from(status.state == state)));
        }
    }
    text
}

fn head(text: &mut String, name: &str, meaning: &str) {
    let name = format!("tributary_projection_{name}");
    write!(text, "# HELP {name} {meaning}\n# TYPE {name} gauge\n").expect("a string takes all");
}

fn line(text: &mut String, name: &str, labels: &str, value: f64) {
    writeln!(text, "tributary_projection_{name}{{{labels}}} {value}").expect("a string takes all");
}
