//! How many readings of the run's devices the read model shows, according to the HTTP API.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::api::Client;
use super::plan::Plan;
use super::settings::MAX_DEVICES_PER_USER;

/// Interval of polling.
const INTERVAL: Duration = Duration::from_millis(50);

/// The number of visible readings of each of a user's devices.
pub(crate) async fn of_user(
    client: &Client,
    plan: &Plan,
    user: u32,
) -> Result<Vec<u32>, client::Error> {
    // The list, because a device without readings is not an error there.
    let known = client.devices(Some(&plan.user_id(user)), MAX_DEVICES_PER_USER).await?;
    let count = |device| {
        let id = plan.device_id(device);
        known.iter().find(|known| known.device_id == id).map_or(0, |known| known.readings)
    };
    Ok(plan.devices_of(user).map(count).collect())
}

/// Waits until at least `expected` readings of each user are visible, or until their number has not
/// grown for `patience`.
pub(crate) async fn wait(client: &Client, plan: &Plan, expected: &[u64], patience: Duration) {
    let mut visible = vec![0; expected.len()];
    let mut grown_at = Instant::now();
    loop {
        for ((user, expected), visible) in (0..).zip(expected).zip(&mut visible) {
            if *visible >= *expected {
                continue;
            }
            // A failed request shows nothing.
            let now = of_user(client, plan, user).await.map(|counts| sum(&counts));
            if let Some(more) = now.ok().filter(|now| *now > *visible) {
                *visible = more;
                grown_at = Instant::now();
            }
        }
        let all = visible.iter().zip(expected).all(|(visible, expected)| visible >= expected);
        if all || grown_at.elapsed() > patience {
            return;
        }
        sleep(INTERVAL).await;
    }
}

/// The number of visible readings of all users.
pub(crate) async fn count(client: &Client, plan: &Plan) -> Result<u64, client::Error> {
    let mut total = 0;
    for user in 0..plan.users {
        total += sum(&of_user(client, plan, user).await?);
    }
    Ok(total)
}

fn sum(counts: &[u32]) -> u64 {
    counts.iter().copied().map(u64::from).sum()
}
