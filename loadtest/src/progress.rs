//! Reports progress, and gives up when there is none.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::controls::Controls;
use super::plan::Plan;
use super::stats::Start;

/// Interval of the reports.
const INTERVAL: Duration = Duration::from_millis(250);
/// Number of reports that the rate is the average of.
const WINDOW: usize = 8;

/// The progress of a run.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Messages of the whole run.
    pub total: u64,
    /// Messages due by now.
    pub due: u64,
    /// Messages sent, each counted once.
    pub sent: u64,
    /// Messages acknowledged, each counted once.
    pub acknowledged: u64,
    /// Messages acknowledged a second, over the last two seconds.
    pub rate: u64,
}

/// Reports until it is dropped. Cancels `give_up` when, after the last message was due, nothing is
/// acknowledged for `patience`.
pub(crate) async fn run(
    plan: &Plan,
    controls: &Controls,
    patience: Duration,
    report: impl Fn(Progress),
) {
    let start = controls.stats.started().await;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut samples = Vec::new();
    let (mut acknowledged, mut grown_at) = (0, Instant::now());
    loop {
        ticks.tick().await;
        let now = controls.stats.counts();
        let over = start.at.elapsed() > plan.duration || controls.stop.is_cancelled();
        if now.acknowledged > acknowledged || !over {
            (acknowledged, grown_at) = (now.acknowledged, Instant::now());
        }
        if grown_at.elapsed() > patience {
            controls.give_up.cancel();
        }
        samples.push((Instant::now(), now.acknowledged));
        if samples.len() > WINDOW {
            samples.remove(0);
        }
        report(Progress {
            total: plan.total(),
            due: due(plan, start),
            sent: now.sent,
            acknowledged: now.acknowledged,
            rate: rate(&samples),
        });
    }
}

/// Messages a second between the first sample and the last.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "shown to people, rounded"
)]
fn rate(samples: &[(Instant, u64)]) -> u64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return 0 };
    let seconds = (last.0 - first.0).as_secs_f64();
    if seconds > 0.0 { ((last.1 - first.1) as f64 / seconds) as u64 } else { 0 }
}

/// Messages due by now.
pub(crate) fn due(plan: &Plan, start: Start) -> u64 {
    let elapsed = start.at.elapsed();
    (0..plan.devices()).map(|device| u64::from(plan.due_by(device, elapsed))).sum()
}
