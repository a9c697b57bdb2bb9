//! The result of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Sums;
use super::settings::Mode;

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the run.
    pub run: String,
    /// How devices sent.
    pub mode: Mode,
    /// Number of devices.
    pub devices: u32,
    /// Messages a second of all devices, as planned.
    pub rate: f64,
    /// The sums of the ledger.
    #[serde(flatten)]
    pub sums: Sums,
    /// Readings in the read model.
    pub visible: u64,
    /// Messages sent again because they were not acknowledged.
    pub resent: u64,
    /// Messages that the server rejected.
    pub refused: u64,
    /// From due to acknowledged.
    pub to_acknowledged: Quantiles,
    /// From due to visible in the read model, of a sample.
    pub to_visible: Quantiles,
    /// Requests of the probe that failed.
    pub unanswered: u64,
    /// The state when the last message was due.
    pub end: End,
    /// Failures that the run outlived, and how often they happened.
    pub troubles: BTreeMap<String, u64>,
}

/// The state when the last message was due.
#[derive(Debug, Serialize)]
pub struct End {
    /// Seconds since the first message.
    pub seconds: f64,
    /// Messages due and not acknowledged.
    pub unacknowledged: u64,
    /// Lag of the read model in events; -1 if unknown.
    pub events_behind: i64,
    /// Lag of the read model in seconds; -1 if unknown.
    pub seconds_behind: f64,
    /// Seconds until everything that was ever acknowledged was.
    pub acknowledged_after: f64,
    /// Seconds until that was visible.
    pub visible_after: f64,
    /// Processor time of the load test itself until everything was acknowledged, in seconds.
    pub cpu_seconds: f64,
}

/// A distribution of latencies, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Quantiles {
    /// Number of latencies.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// 99 % are not longer.
    pub p99: f64,
    /// 99.9 % are not longer.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Quantiles {
    pub(crate) fn of(latencies: &Histogram<u64>) -> Self {
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
}

impl Report {
    /// What is wrong with the system, if anything is.
    pub fn faults(&self) -> Vec<String> {
        let Sums { stored, duplicated, lost, unacknowledged, unknown, .. } = self.sums;
        let difference = (stored + duplicated).abs_diff(self.visible);
        [
            (lost, "acknowledged and not stored"),
            (duplicated, "stored more than once"),
            (unacknowledged, "never acknowledged"),
            (unknown, "stored and never sent"),
            (difference, "difference between stored and visible"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
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
            mode: Mode::Mqtt,
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
