//! Works, demanded over HTTP and over NATS in turn.

use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::{self, Context as JetStream};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::super::works::publish;
use super::Demo;

/// Time between two demands.
const WORK_EVERY: Duration = Duration::from_secs(4);
/// Largest number to add up to.
const MOST: u32 = 100_000;

pub(super) async fn run(demo: &Demo) {
    let mut pace = demo.pace("works", WORK_EVERY);
    let mut jetstream = None;
    for number in 0_u64.. {
        pace.next().await;
        let outcome = if number.is_multiple_of(2) {
            over_http(demo).await
        } else {
            over_nats(demo, &mut jetstream).await
        };
        pace.note(outcome);
    }
}

async fn over_http(demo: &Demo) -> anyhow::Result<()> {
    let body = json!({"add_up_to": rand::random_range(1..=MOST)});
    let api = demo.api(demo.people.ada)?;
    let demand = api.post("/api/v1/works").json(&body).once();
    demand.send::<Value>().await.context("cannot demand a work over HTTP")?;
    Ok(())
}

/// Connects first, if there is no connection; the client restores one that was lost.
async fn over_nats(demo: &Demo, jetstream: &mut Option<JetStream>) -> anyhow::Result<()> {
    let jetstream = match jetstream {
        Some(connected) => connected,
        None => jetstream.insert(connect(demo).await.context("cannot connect to NATS")?),
    };
    let body = json!({"add_up_to": rand::random_range(1..=MOST), "done": false}).to_string();
    let published = publish(jetstream, &Uuid::now_v7().to_string(), &body).await;
    published.context("cannot demand a work over NATS")
}

async fn connect(demo: &Demo) -> anyhow::Result<JetStream> {
    let (servers, options) = eventstore::connect_options(&demo.bus)?;
    Ok(jetstream::new(options.name("demo").connect(servers).await?))
}
