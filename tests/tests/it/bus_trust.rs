//! The bus is not trusted: a forged message becomes no fact, a stream of another deployment is left
//! alone, and what NATS does not store is visible everywhere until it is stored.

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use devservers::Nats;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

const USER: &str = "user_123";

async fn connect(nats: &Nats) -> Result<jetstream::Context> {
    Ok(jetstream::new(async_nats::connect(nats.url()).await?))
}

async fn published(system: &System) -> Result<()> {
    eventually("the relay has published everything", async || {
        let relay = system.json("/api/v1/projections/relay").await?;
        Ok(relay["events_behind"] == 0 && relay["state"] == "live")
    })
    .await
}

/// Returns one dependency from `GET /readyz`, which lists them also while it is not ready; null if it
/// is not listed.
async fn dependency(system: &System, name: &str) -> Result<Value> {
    let ready = system.http.get(format!("{}/readyz", system.url())).send().await?;
    let ready: Value = ready.json().await?;
    let mut listed = ready["dependencies"].as_array().into_iter().flatten();
    Ok(listed.find(|one| one["name"] == name).cloned().unwrap_or_default())
}

fn reading(device: &str, sequence: i64, battery: i64) -> Value {
    json!({"user_id": USER, "device_id": device, "sequence_id": sequence, "battery": battery,
           "time": "2026-01-01T00:00:00Z"})
}

async fn device_names(system: &System) -> Result<Vec<Value>> {
    let page = system.json("/api/v1/devices").await?;
    let items = page["items"].as_array().context("a list")?.iter();
    Ok(items.map(|device| device["device_id"].clone()).collect())
}

/// The forged message is shaped like the one that the relay publishes for a real reading.
#[tokio::test]
async fn a_forged_reading_becomes_no_device_no_alert_and_no_fact() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let rules = json!({"rules": [{"key": "battery", "operator": "<", "threshold": 20}]});
    let caller = system.caller(&system.token);
    caller.command(Method::PUT, &format!("/api/v1/users/{USER}/config"), &rules).await?;
    system.post("/api/v1/telemetry", &json!([reading("real", 1, 90)])).send().await?;
    eventually("the device is connected", async || {
        Ok(system
            .number("select count(*) from log.event where event_type = 'device_connected'")
            .await?
            == 1)
    })
    .await?;
    system.caught_up().await?;
    published(&system).await?;

    let jetstream = connect(&system.nats).await?;
    let stream = jetstream.get_stream("EVENTS").await?;
    let real = "events.telemetry.device.*.reading_recorded";
    let real = stream.get_last_raw_message_by_subject(real).await?;
    let forge = |text: &str| text.replace("real", "forged");
    let head = system.head().await?;
    let mut headers = HeaderMap::new();
    for (name, values) in real.headers.iter() {
        let name = name.to_string();
        if !name.starts_with("Nats-") {
            headers.insert(name.as_str(), forge(values[0].as_str()));
        }
    }
    headers.insert("ce-id", "01a20ca5-98ad-76df-8e4a-2db0a2949751");
    headers.insert("Tributary-Position", (head + 1).to_string());
    headers.insert("Tributary-Version", "1");
    let body = forge(std::str::from_utf8(&real.payload)?).replace("90", "1");
    let subject = forge(&real.subject);
    jetstream.publish_with_headers(subject, headers, body.into()).await?.await?;
    jetstream.publish("events.telemetry.device.x.reading_recorded", "x".into()).await?.await?;

    eventually("the message is dealt with", async || {
        let metrics = system.get("/metrics").send().await?.text();
        let skipped = metrics.await?.lines().any(|line| line == "tributary_relay_foreign_total 2");
        Ok(skipped || device_names(&system).await?.len() > 1)
    })
    .await?;
    // The position belongs to the next real reading.
    let posted = system.post("/api/v1/telemetry", &json!([reading("real", 2, 91)])).send().await?;
    let position = posted.headers().get("tributary-position").context("a position")?.to_str()?;
    assert_eq!(position, (head + 1).to_string());
    let path = format!("/api/v1/users/{USER}/devices/real");
    let shown = system.get(&path).header("Tributary-Min-Position", position).send().await?;
    let shown: Value = shown.error_for_status()?.json().await?;
    assert_eq!((&shown["sequence_id"], &shown["battery"]), (&json!(2), &json!(91)));
    system.caught_up().await?;
    published(&system).await?;
    assert_eq!(device_names(&system).await?, [json!("real")]);
    assert_eq!(system.json("/api/v1/alerts").await?["items"], json!([]));
    for (expected, sql) in [
        (1, "select count(*) from log.event where event_type = 'device_connected'"),
        (
            0,
            "select count(*) from log.event where stream_id like '%forged%' or data::text like '%forged%'",
        ),
        (0, "select count(*) from log.event where event_type like 'alert_%'"),
        (0, "select count(*) from log.checkpoint c, log.head h where c.position > h.position"),
    ] {
        assert_eq!(system.number(sql).await?, expected, "{sql}");
    }

    // Subscribers lose nothing: the stream was not emptied.
    let state = jetstream.get_stream("EVENTS").await?.cached_info().state.clone();
    assert_eq!(state.first_sequence, 1);
    assert_eq!(state.messages, u64::try_from(system.head().await? + 2)?);
    let relay = system.json("/api/v1/projections/relay").await?;
    let warning = relay["warning"].as_str().context("a warning")?;
    assert!(warning.contains("skipped 2 messages of other programs"), "{warning}");
    assert_eq!(dependency(&system, "relay").await?["status"], "up");
    Ok(())
}

#[tokio::test]
async fn an_event_that_nats_does_not_store_is_an_error_everywhere_until_it_is_stored() -> Result<()>
{
    let system = System::start().await?;
    let mut process = system.serve(&[]).await?;
    system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?.error_for_status()?;
    published(&system).await?;
    let jetstream = connect(&system.nats).await?;
    let limit = async |size: i32| -> Result<()> {
        let config = jetstream.get_stream("EVENTS").await?.cached_info().config.clone();
        jetstream.update_stream(stream::Config { max_message_size: size, ..config }).await?;
        Ok(())
    };
    limit(10).await?;
    system.post("/api/v1/works", &json!({"add_up_to": 2})).send().await?.error_for_status()?;
    let relay = async || system.json("/api/v1/projections/relay").await;
    eventually("the error names the position after that of the relay", async || {
        let shown = relay().await?;
        let position = shown["position"].as_i64().context("a position")? + 1;
        let refusal = format!("NATS refused to store position {position}: ");
        Ok(shown["error"].as_str().is_some_and(|error| error.starts_with(&refusal))
            && shown["error_since"].is_string())
    })
    .await?;
    let error = relay().await?["error"].as_str().context("an error")?.to_owned();
    let shown = dependency(&system, "relay").await?;
    assert_eq!((&shown["status"], &shown["required"]), (&json!("down"), &json!(false)));
    assert_eq!(shown["reason"], error);
    process.logs("relay publishes nothing, retrying").await?;
    let lag: Value = serde_json::from_str(&system.run(&["lag", "--json"]).await?)?;
    let lag = lag.as_array().context("a list")?.iter().find(|one| one["name"] == "relay");
    assert_eq!(lag.context("the relay")?["error"], error);
    let text = system.get("/metrics").send().await?.text().await?;
    assert!(text.contains("tributary_projection_error{projection=\"relay\"} 1"), "{text}");

    limit(-1).await?;
    published(&system).await?;
    eventually("the error is gone", async || Ok(relay().await?["error"].is_null())).await?;
    assert_eq!(dependency(&system, "relay").await?["status"], "up");
    process.logs("relay publishes again").await?;
    Ok(())
}

#[tokio::test]
async fn two_deployments_on_one_nats_leave_each_others_streams_alone() -> Result<()> {
    let (first, second) = (System::start().await?, System::start().await?);
    let _first = first.serve(&[]).await?;
    first.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?.error_for_status()?;
    published(&first).await?;
    let nats = [("NATS_URL", &*first.nats.url())];
    let mut process = second.serve_with(&[], &nats).await?;
    second.post("/api/v1/works", &json!({"add_up_to": 2})).send().await?.error_for_status()?;
    eventually("the second one refuses the stream", async || {
        Ok(dependency(&second, "relay").await?["status"] == "down")
    })
    .await?;
    let reason = dependency(&second, "relay").await?["reason"].to_string();
    for system in [&first, &second] {
        let id: String = sqlx::query_scalar("select id::text from log.deployment")
            .fetch_one(&system.admin)
            .await?;
        assert!(reason.contains(&id), "{reason} does not name {id}");
    }
    process.logs("NATS intake failed, retrying error=\"stream COMMANDS belongs to").await?;
    published(&first).await?;
    let jetstream = connect(&first.nats).await?;
    let state = jetstream.get_stream("EVENTS").await?.cached_info().state.clone();
    assert_eq!((state.first_sequence, state.messages), (1, u64::try_from(first.head().await?)?));
    process.kill().await?;

    // An operator hands the stream over.
    let id: String =
        sqlx::query_scalar("select id::text from log.deployment").fetch_one(&first.admin).await?;
    let take_over = [nats[0], ("NATS_TAKE_OVER", &*id)];
    let _process = second.serve_with(&[], &take_over).await?;
    published(&second).await?;
    let mut stream = jetstream.get_stream("EVENTS").await?;
    let head = u64::try_from(second.head().await?)?;
    eventually("the stream holds the second log", async || {
        Ok(second.json("/api/v1/projections/relay").await?["error"].is_null())
    })
    .await?;
    assert!(stream.info().await?.state.messages >= head);
    eventually("the first one has noticed", async || {
        Ok(dependency(&first, "relay").await?["reason"].to_string().contains("belongs to"))
    })
    .await
}

#[tokio::test]
async fn streams_have_the_limits_of_the_options() -> Result<()> {
    let system = System::start().await?;
    let options = [
        ("NATS_MAX_AGE", "30d"),
        ("NATS_MAX_BYTES", "500000000"),
        ("NATS_COMMANDS_MAX_AGE", "1h"),
        ("NATS_COMMANDS_MAX_BYTES", "1000000"),
        ("NATS_REPLICAS", "1"),
    ];
    let process = system.serve_with(&[], &options).await?;
    let jetstream = connect(&system.nats).await?;
    let config = async |name: &str| -> Result<stream::Config> {
        Ok(jetstream.get_stream(name).await?.cached_info().config.clone())
    };
    eventually("there are streams", async || {
        Ok(config("EVENTS").await.is_ok() && config("COMMANDS").await.is_ok())
    })
    .await?;
    let hour = std::time::Duration::from_hours(1);
    let events = config("EVENTS").await?;
    assert_eq!((events.max_age, events.max_bytes), (hour * 24 * 30, 500_000_000));
    let commands = config("COMMANDS").await?;
    assert_eq!((commands.max_age, commands.max_bytes), (hour, 1_000_000));
    assert_eq!(commands.retention, stream::RetentionPolicy::WorkQueue);
    assert_eq!(commands.discard, stream::DiscardPolicy::New, "senders notice a full queue");
    process.kill().await?;

    // Replicas need a cluster: the refusal of the server is visible.
    let alone = System::start().await?;
    alone.skip_end_check(); // The relay never publishes.
    let _process = alone.serve_with(&[], &[("NATS_REPLICAS", "3")]).await?;
    eventually("the refusal is shown", async || {
        let reason = dependency(&alone, "relay").await?["reason"].to_string();
        Ok(reason.contains("cannot create stream EVENTS"))
    })
    .await
}
