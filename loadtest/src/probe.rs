//! Measures the time until a reading is visible: polls the number of readings of one user's devices at
//! a time.
//!
//! Each response covers everything that became visible since the one before, so an outage is measured
//! as every message of those devices met it, not as one probe did. The cost is bounded by
//! [`INTERVAL`], whatever the load; latencies are up to that much too high.

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::api::Client;
use super::plan::Plan;
use super::stats::{Stats, histogram, record};
use super::visible::of_user;

/// Interval of the probe's requests.
pub const INTERVAL: Duration = Duration::from_millis(20);
/// How long one user is polled, at least; then until all is visible that was due when its turn began.
const TURN: Duration = Duration::from_secs(1);
/// Distance to the next user, so that a short run covers more than the first ones.
const STRIDE: u32 = 7;

/// What the probe measured.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) latencies: Histogram<u64>,
    /// Requests that failed.
    pub(crate) unanswered: u64,
}

/// Measures until `done`.
pub(crate) async fn run(
    client: &Client,
    plan: &Plan,
    stats: &Stats,
    done: &CancellationToken,
) -> Seen {
    let mut seen = Seen { latencies: histogram(), unanswered: 0 };
    done.run_until_cancelled(poll(client, plan, stats, &mut seen)).await;
    seen
}

async fn poll(client: &Client, plan: &Plan, stats: &Stats, seen: &mut Seen) {
    let start = stats.started().await;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut user = 0;
    // Nothing has been sent yet. At the start of a later turn, what is visible already became so at an
    // unknown time, and is not measured.
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
                    record(&mut seen.latencies, waited);
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
