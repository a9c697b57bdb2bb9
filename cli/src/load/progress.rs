//! The progress bar, on a terminal; and when to give up.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Controls;
use super::plan::Plan;
use super::tally::Start;

/// How often the figures are shown.
const SHOW: Duration = Duration::from_millis(250);
/// The rate shown is that of so many of the last looks.
const WINDOW: usize = 8;
const TEMPLATE: &str = "{elapsed_precise} {wide_bar} {msg}";

/// Shows how far it is. When, after the last message was due, nothing is acknowledged for
/// `patience`, the senders are told to give up. Never ends by itself.
pub(super) async fn run(plan: &Plan, controls: &Controls, patience: Duration) {
    let start = controls.tally.started().await;
    let bar = ProgressBar::new(plan.total());
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    // Also when the future is dropped.
    let _cleared = Cleared(&bar);
    let mut ticks = interval(SHOW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Vec::new();
    let (mut acknowledged, mut grown_at) = (0, Instant::now());
    loop {
        ticks.tick().await;
        let now = controls.tally.figures();
        let over = start.at.elapsed() > plan.duration || controls.stop.is_cancelled();
        if now.acknowledged > acknowledged || !over {
            (acknowledged, grown_at) = (now.acknowledged, Instant::now());
        }
        if grown_at.elapsed() > patience {
            controls.give_up.cancel();
        }
        before.push((Instant::now(), now.acknowledged));
        if before.len() > WINDOW {
            before.remove(0);
        }
        bar.set_position(now.acknowledged);
        bar.set_message(format!(
            "sent {}  acknowledged {}  {}/s  {} behind",
            HumanCount(now.sent),
            HumanCount(now.acknowledged),
            HumanCount(rate(&before)),
            HumanCount(due(plan, start).saturating_sub(now.acknowledged)),
        ));
    }
}

/// Messages a second between the first look and the last.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "shown to people, who do not mind"
)]
fn rate(looks: &[(Instant, u64)]) -> u64 {
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return 0 };
    let seconds = (last.0 - first.0).as_secs_f64();
    if seconds > 0.0 { ((last.1 - first.1) as f64 / seconds) as u64 } else { 0 }
}

/// Messages due by now.
pub(super) fn due(plan: &Plan, start: Start) -> u64 {
    let elapsed = start.at.elapsed();
    (0..plan.devices()).map(|device| u64::from(plan.due_by(device, elapsed))).sum()
}

/// Takes the bar away when dropped.
struct Cleared<'a>(&'a ProgressBar);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
