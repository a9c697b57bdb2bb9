//! The bus as a plain NATS client receives it.

use anyhow::{Context, Result};
use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use devservers::Nats;
use futures::StreamExt;
use serde_json::json;
use tests::{DEADLINE, System, eventually};
use tokio::time::timeout;

/// Reads `count` messages of EVENTS from its beginning, and checks that each position is there once
/// and in order.
pub(crate) async fn read_from_the_beginning(nats: &Nats, count: i64) -> Result<()> {
    let jetstream = async_nats::jetstream::new(async_nats::connect(nats.url()).await?);
    // A relay that has just reconnected creates the stream first.
    eventually("there is a stream", async || Ok(jetstream.get_stream("EVENTS").await.is_ok()))
        .await?;
    let stream = jetstream.get_stream("EVENTS").await?;
    let config = OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    for expected in 1..=count {
        let message = timeout(DEADLINE, messages.next()).await.context("a message comes")?;
        let message = message.context("the stream goes on")??;
        let headers = message.headers.as_ref().context("it has headers")?;
        let position: i64 =
            headers.get("Tributary-Position").context("a position")?.as_str().parse()?;
        assert_eq!(position, expected);
        for header in
            ["ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "Tributary-Previous"]
        {
            assert!(headers.get(header).is_some(), "{header} is missing");
        }
        let _: serde_json::Value = serde_json::from_slice(&message.payload)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_plain_subscriber_sees_every_event_once_and_in_order() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    for n in 0..50 {
        system.post("/api/v1/works", &json!({"add_up_to": n})).send().await?.error_for_status()?;
    }
    eventually("all are done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == 50)
    })
    .await?;
    read_from_the_beginning(&system.nats, system.head().await?).await?;
    let client = async_nats::connect(system.nats.url()).await?;
    let stream = async_nats::jetstream::new(client).get_stream("EVENTS").await?;
    let last = stream.get_last_raw_message_by_subject("events.works.work.*.work_completed").await?;
    assert!(last.subject.starts_with("events.works.work."), "{}", last.subject);
    Ok(())
}

#[tokio::test]
async fn a_wiped_bus_is_refilled() -> Result<()> {
    let mut system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let demand = async |system: &System, count: i64| -> Result<()> {
        for n in 0..count {
            let body = json!({"add_up_to": n});
            system.post("/api/v1/works", &body).send().await?.error_for_status()?;
        }
        Ok(())
    };
    demand(&system, 20).await?;
    system.caught_up().await?;
    system.nats.kill().await;
    // Commands and projections work without NATS.
    demand(&system, 20).await?;
    eventually("all are done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == 40)
    })
    .await?;
    system.nats.wipe_jetstream().await?;
    demand(&system, 20).await?;
    eventually("all are done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == 60)
    })
    .await?;
    read_from_the_beginning(&system.nats, system.head().await?).await?;
    Ok(())
}
