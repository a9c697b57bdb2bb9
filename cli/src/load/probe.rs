//! How long it takes until a reading can be read: one user at a time is asked for, again and again,
//! how many readings each of the devices is known to have sent.
//!
//! Each answer tells of all that became visible since the one before, so an outage is in the figures
//! as every message of those devices felt it, not as one probe did. What it costs is bounded by
//! [`EVERY`], whatever the load; it makes the figures up to that much too high.

use std::time::Duration;

use client::Client;
use hdrhistogram::Histogram;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use super::readings::of_user;
use super::tally::{Tally, latencies, record};

/// Between two questions.
pub(super) const EVERY: Duration = Duration::from_millis(20);
/// Then it is another user's turn, if all is visible that was due when this one's began.
const TURN: Duration = Duration::from_secs(1);
/// The next user is so many on, so that a short run sees others than the first.
const STRIDE: u32 = 7;

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) latency: Histogram<u64>,
    /// Questions without an answer.
    pub(super) unanswered: u64,
}

/// Asks until `done`.
pub(super) async fn run(
    client: &Client,
    plan: &Plan,
    tally: &Tally,
    done: &CancellationToken,
) -> Seen {
    let mut seen = Seen { latency: latencies(), unanswered: 0 };
    done.run_until_cancelled(ask(client, plan, tally, &mut seen)).await;
    seen
}

async fn ask(client: &Client, plan: &Plan, tally: &Tally, seen: &mut Seen) {
    let start = tally.started().await;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut user = 0;
    // Nobody has sent anything yet. Later on, what is visible when a turn begins became so at a time
    // that nobody knows, and does not count.
    let mut shown = vec![0; plan.devices_per_user as usize];
    loop {
        let turn = Instant::now();
        let due: Vec<u32> =
            plan.devices_of(user).map(|device| plan.due_by(device, start.at.elapsed())).collect();
        while turn.elapsed() < TURN || shown.iter().zip(&due).any(|(shown, due)| shown < due) {
            ticks.tick().await;
            let Ok(now) = of_user(client, plan, user).await else {
                seen.unanswered += 1;
                continue;
            };
            let elapsed = start.at.elapsed();
            for ((device, before), now) in plan.devices_of(user).zip(&shown).zip(&now) {
                for sequence in *before..*now {
                    let waited = elapsed.saturating_sub(plan.due(device, sequence));
                    record(&mut seen.latency, waited);
                }
            }
            shown = now;
        }
        user = (user + STRIDE) % plan.users;
        shown = loop {
            match of_user(client, plan, user).await {
                Ok(now) => break now,
                Err(_) => seen.unanswered += 1,
            }
            ticks.tick().await;
        };
    }
}
