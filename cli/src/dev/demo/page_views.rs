//! Views of the shop's pages, as a browser reports them.

use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use serde_json::Value;

use super::super::visitors;
use super::Demo;

/// Time between two views.
const VIEW_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(demo: &Demo) {
    let mut pace = demo.pace("page_views", VIEW_EVERY);
    loop {
        pace.next().await;
        let view = visitors::view(Utc::now());
        let record = demo.api.post("/api/v1/page-views").json(&view).once();
        let recorded = record.send::<Value>().await.context("cannot record a page view");
        pace.note(recorded.map(drop));
    }
}
