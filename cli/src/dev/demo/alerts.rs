//! An owner of devices acknowledges alerts.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::Demo;

/// Time between two looks at the alerts.
const LOOK_EVERY: Duration = Duration::from_secs(10);

pub(super) async fn run(demo: &Demo) {
    let mut pace = demo.pace("alerts", LOOK_EVERY);
    loop {
        pace.next().await;
        pace.note(acknowledge(demo).await);
    }
}

/// Acknowledges the newest alert of the devices of one owner; alerts of the other stay as they are.
async fn acknowledge(demo: &Demo) -> anyhow::Result<()> {
    let api = demo.api(demo.people.grace)?;
    let list = api.get("/api/v1/alerts?state=active&acknowledged=false&limit=1");
    let page: Value = list.send().await.context("cannot list alerts")?.body;
    let Some(id) = page["items"][0]["id"].as_str() else { return Ok(()) };
    let acknowledge = api.post(&format!("/api/v1/alerts/{id}/acknowledge")).json(&json!({}));
    acknowledge.once().send::<Value>().await.context("cannot acknowledge an alert")?;
    Ok(())
}
