//! How many readings the read model has of the run's devices, as the API says.

use std::time::Duration;

use client::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::plan::Plan;
use crate::outcome::Failure;
use crate::rows::items;

/// Between two looks for what is not visible yet.
const LOOK: Duration = Duration::from_millis(50);
/// Devices on a page of the API, at most; a user has no more.
pub(super) const PAGE: u32 = 500;

/// How many readings each of a user's devices is known to have sent.
pub(super) async fn of_user(client: &Client, plan: &Plan, user: u32) -> Result<Vec<u32>, Failure> {
    // A list, because it is no error that a device has not been heard of yet.
    let query = [("user_id", plan.user_id(user)), ("limit", PAGE.to_string())];
    let page: Value = client.get("/api/v1/devices").query(&query).send().await?.body;
    let known = items(&page, "items");
    let count = |device| {
        let id = plan.device_id(device);
        let found = known.iter().find(|known| known["device_id"] == id.as_str());
        let readings = found.and_then(|known| known["readings"].as_u64());
        u32::try_from(readings.unwrap_or_default()).unwrap_or(u32::MAX)
    };
    Ok(plan.devices_of(user).map(count).collect())
}

/// Waits until at least so many of each user's are visible, or until their number has not grown for
/// `patience`.
pub(super) async fn wait(client: &Client, plan: &Plan, expected: &[u64], patience: Duration) {
    let mut visible = vec![0; expected.len()];
    let mut grown_at = Instant::now();
    loop {
        for ((user, expected), visible) in (0..).zip(expected).zip(&mut visible) {
            if *visible >= *expected {
                continue;
            }
            // An API that does not answer shows nothing.
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
        sleep(LOOK).await;
    }
}

/// How many are visible now.
pub(super) async fn count(client: &Client, plan: &Plan) -> Result<u64, Failure> {
    let mut total = 0;
    for user in 0..plan.users {
        total += sum(&of_user(client, plan, user).await?);
    }
    Ok(total)
}

fn sum(counts: &[u32]) -> u64 {
    counts.iter().copied().map(u64::from).sum()
}
