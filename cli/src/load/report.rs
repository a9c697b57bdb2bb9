//! What is printed in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Sums;
use crate::output;

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) run: String,
    pub(super) mode: super::Mode,
    pub(super) devices: u32,
    /// Messages a second of all devices, as planned.
    pub(super) rate: f64,
    #[serde(flatten)]
    pub(super) sums: Sums,
    /// Readings the read model has.
    pub(super) visible: u64,
    /// Messages sent another time, because the first was not acknowledged.
    pub(super) resent: u64,
    /// Messages rejected by the server.
    pub(super) refused: u64,
    /// Since due.
    pub(super) to_acknowledged: Quantiles,
    /// Since due; sampled.
    pub(super) to_visible: Quantiles,
    /// Questions of the probe that were not answered.
    pub(super) unanswered: u64,
    pub(super) end: End,
    /// What went wrong and was survived, and how often.
    pub(super) troubles: BTreeMap<String, u64>,
}

/// How it stood when the last message was due.
#[derive(Debug, Serialize)]
pub(super) struct End {
    /// Seconds from the first message to then.
    pub(super) seconds: f64,
    /// Due, and not acknowledged.
    pub(super) unacknowledged: u64,
    /// How far the read model was behind the log.
    pub(super) events_behind: i64,
    pub(super) seconds_behind: f64,
    /// From then on, until everything that ever was acknowledged had been.
    pub(super) acknowledged_after: f64,
    /// And until it was visible.
    pub(super) visible_after: f64,
    /// Processor time of the load tester itself until then.
    pub(super) cpu_seconds: f64,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Quantiles {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Quantiles {
    pub(super) fn of(latencies: &Histogram<u64>) -> Self {
        let millis = |micros| Duration::from_micros(micros).as_secs_f64() * 1e3;
        let quantile = |q| millis(latencies.value_at_quantile(q));
        Self {
            count: latencies.len(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: millis(latencies.max()),
        }
    }

    fn text(&self) -> String {
        let Self { count, p50, p99, p999, max } = self;
        if *count == 0 {
            return "nothing seen".into();
        }
        format!(
            "p50 {}  p99 {}  p99.9 {}  max {}",
            Millis(*p50),
            Millis(*p99),
            Millis(*p999),
            Millis(*max)
        )
    }
}

/// A length of time for people: three digits or so.
struct Millis(f64);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            millis if millis < 10.0 => write!(f, "{millis:.2} ms"),
            millis if millis < 1_000.0 => write!(f, "{millis:.0} ms"),
            millis => write!(f, "{:.2} s", millis / 1e3),
        }
    }
}

impl Report {
    /// What is wrong, if anything is.
    pub(super) fn faults(&self) -> Vec<String> {
        let Sums { stored, duplicated, lost, unacknowledged, unknown, .. } = self.sums;
        let behind = (stored + duplicated).abs_diff(self.visible);
        [
            (lost, "acknowledged and not stored"),
            (duplicated, "stored another time"),
            (unacknowledged, "never acknowledged"),
            (unknown, "stored and never sent"),
            (behind, "between what is stored and what is visible"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }

    /// For people.
    pub(super) fn print(&self) {
        let Self { sums, end, .. } = self;
        let line = |name: &str, text: String| output::line(&format!("{name:<18} {text}"));
        line(
            "run",
            format!("{}: {} devices, {}/s by {}", self.run, self.devices, self.rate, self.mode),
        );
        line("due", format!("{}", sums.due));
        line("sent", format!("{}", sums.sent));
        line("acknowledged", format!("{}", sums.acknowledged));
        line("stored", format!("{}", sums.stored));
        line("visible", format!("{}", self.visible));
        line("lost", format!("{}", sums.lost));
        line("duplicated", format!("{}", sums.duplicated));
        line("unacknowledged", format!("{}", sums.unacknowledged));
        line("sent again", format!("{}", self.resent));
        line(
            "due → PUBACK".replace("PUBACK", self.mode.acknowledgement()).as_str(),
            self.to_acknowledged.text(),
        );
        line("due → visible", self.to_visible.text());
        line(
            "",
            format!(
                "of {} readings, one user at a time asked for every {} ms",
                self.to_visible.count,
                super::probe::EVERY.as_millis()
            ),
        );
        line(
            "at the end",
            format!(
                "{} unacknowledged, read model {} events and {:.2} s behind; all acknowledged {:.2} s later, visible {:.2} s later",
                end.unacknowledged,
                end.events_behind,
                end.seconds_behind,
                end.acknowledged_after,
                end.visible_after,
            ),
        );
        line(
            "load tester",
            format!(
                "{:.1} s of processor time in {:.1} s ({:.0} % of a core)",
                end.cpu_seconds,
                end.seconds,
                100.0 * end.cpu_seconds / end.seconds.max(1e-9),
            ),
        );
        if self.unanswered > 0 {
            line(
                "survived",
                format!("{} × a question of the probe without an answer", self.unanswered),
            );
        }
        for (what, count) in &self.troubles {
            line("survived", format!("{count} × {what}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_printed_json_never_change() {
        let quantiles = || Quantiles { count: 1, p50: 2.0, p99: 3.0, p999: 4.0, max: 5.0 };
        let report = Report {
            run: "r".into(),
            mode: super::super::Mode::Mqtt,
            devices: 1,
            rate: 2.0,
            sums: Sums::default(),
            visible: 3,
            resent: 4,
            refused: 5,
            to_acknowledged: quantiles(),
            to_visible: quantiles(),
            unanswered: 6,
            end: End {
                seconds: 1.0,
                unacknowledged: 2,
                events_behind: 3,
                seconds_behind: 4.0,
                acknowledged_after: 5.0,
                visible_after: 6.0,
                cpu_seconds: 7.0,
            },
            troubles: BTreeMap::from([("t".into(), 1)]),
        };
        let quantiles = r#"{"count":1,"p50":2.0,"p99":3.0,"p99.9":4.0,"max":5.0}"#;
        let pinned = [
            r#"{"run":"r","mode":"mqtt","devices":1,"rate":2.0,"due":0,"sent":0,"acknowledged":0,"#,
            r#""stored":0,"duplicated":0,"lost":0,"unacknowledged":0,"unknown":0,"visible":3,"#,
            &format!(r#""resent":4,"refused":5,"to_acknowledged":{quantiles},"#),
            &format!(r#""to_visible":{quantiles},"unanswered":6,"#),
            r#""end":{"seconds":1.0,"unacknowledged":2,"events_behind":3,"seconds_behind":4.0,"#,
            r#""acknowledged_after":5.0,"visible_after":6.0,"cpu_seconds":7.0},"troubles":{"t":1}}"#,
        ];
        assert_eq!(serde_json::to_string(&report).unwrap(), pinned.concat());
    }
}
