//! Prints a report for people.

use loadtest::{PROBE_INTERVAL, Quantiles, Report};

use crate::outcome::Failure;
use crate::output;

pub(super) fn report(report: &Report) -> Result<(), Failure> {
    let Report { sums, end, .. } = report;
    line(
        "run",
        format!("{}: {} devices, {}/s by {}", report.run, report.devices, report.rate, report.mode),
    )?;
    line("due", sums.due.to_string())?;
    line("sent", sums.sent.to_string())?;
    line("acknowledged", sums.acknowledged.to_string())?;
    line("stored", sums.stored.to_string())?;
    line("visible", report.visible.to_string())?;
    line("lost", sums.lost.to_string())?;
    line("duplicated", sums.duplicated.to_string())?;
    line("unacknowledged", sums.unacknowledged.to_string())?;
    line("sent again", report.resent.to_string())?;
    let acknowledged = format!("due → {}", report.mode.acknowledgement());
    line(&acknowledged, quantiles(&report.to_acknowledged))?;
    line("due → visible", quantiles(&report.to_visible))?;
    let (count, millis) = (report.to_visible.count, PROBE_INTERVAL.as_millis());
    line("", format!("of {count} readings, polled every {millis} ms for one user at a time"))?;
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
    )?;
    line(
        "load tester",
        format!(
            "{:.1} s of processor time in {:.1} s ({:.0} % of a core)",
            end.cpu_seconds,
            end.seconds,
            100.0 * end.cpu_seconds / end.seconds.max(1e-9),
        ),
    )?;
    if report.unanswered > 0 {
        line("survived", format!("{} × a request of the probe failed", report.unanswered))?;
    }
    for (what, count) in &report.troubles {
        line("survived", format!("{count} × {what}"))?;
    }
    Ok(())
}

fn line(name: &str, text: String) -> Result<(), Failure> {
    output::line(&format!("{name:<18} {text}"))
}

fn quantiles(quantiles: &Quantiles) -> String {
    let Quantiles { count, p50, p99, p999, max } = *quantiles;
    if count == 0 {
        return "nothing measured".into();
    }
    let [p50, p99, p999, max] = [p50, p99, p999, max].map(millis);
    format!("p50 {p50}  p99 {p99}  p99.9 {p999}  max {max}")
}

/// A duration with three digits or so.
fn millis(millis: f64) -> String {
    match millis {
        millis if millis < 10.0 => format!("{millis:.2} ms"),
        millis if millis < 1_000.0 => format!("{millis:.0} ms"),
        millis => format!("{:.2} s", millis / 1e3),
    }
}
