//! Messages in the formats of others, over every door: nothing is lost and nothing is parked. The base
//! messages are in `tests/corpus/`; each is sent in these variants:
//!
//! | variant | door | expected |
//! |---|---|---|
//! | as published | MQTT, its own topic | by the mapping: `becomes` |
//! | again | MQTT, its own topic | `again`: a duplicate, or recorded again |
//! | cut in half | MQTT, its own topic | `cut` |
//! | empty | MQTT, its own topic | ignored |
//! | with a `sequence_id` | MQTT, our topic | the verdict of HTTP; kept whole |
//! | with ids and a `sequence_id` | HTTP | kept whole, or rejected with a reason |
//! | with ids only | HTTP | rejected: no `sequence_id` |
//!
//! NATS takes no readings: its intake takes the demands of works, of which some are sent.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use tests::{System, eventually};

use crate::architecture::root;

/// Messages that are expected to be recorded, found in the log or ignored, and rejected.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    appended: u64,
    duplicate: u64,
    rejected: u64,
}

impl Expected {
    fn count(&mut self, outcome: &str) {
        match outcome {
            "mapped" | "accepted" => self.appended += 1,
            "duplicate" | "ignored" => self.duplicate += 1,
            _ => self.rejected += 1,
        }
    }
}

fn with(payload: &Value, more: &Value) -> Option<Value> {
    let mut members = payload.as_object()?.clone();
    members.extend(more.as_object().cloned().unwrap_or_default());
    Some(Value::Object(members))
}

/// Returns the members of `payload` that the reading of `data` does not hold.
fn lost(payload: &Map<String, Value>, data: &Value) -> Vec<String> {
    let holds = |name: &str, value: &Value| {
        let own = &data["extra_data"][name];
        let known = &data[name];
        let is_known =
            ["temperature", "battery"].contains(&name) && known.as_f64() == value.as_f64();
        own == value || is_known || value.is_null() || name == "time"
    };
    payload
        .iter()
        .filter(|(name, value)| !holds(name, value))
        .map(|(name, _)| name.clone())
        .collect()
}

#[tokio::test]
async fn messages_of_other_formats_are_kept_mapped_or_refused_with_a_reason_at_every_door()
-> Result<()> {
    let folder = root().join("tests/corpus");
    let entries: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("messages.json"))?)?;
    let system = System::start().await?;
    let mappings = folder.join("mappings.json").display().to_string();
    let _process = system.serve_with(&[], &[("MQTT_TOPIC_MAPPINGS", mappings.as_str())]).await?;
    let (mut expected, mut sent) = (Expected::default(), 0);

    for entry in &entries {
        let of = |name: &str| entry[name].as_str().unwrap_or_default();
        let (payload, topic) = (&entry["payload"], of("topic"));
        let text = payload.as_str().map_or_else(|| payload.to_string(), str::to_owned);
        let half: String = text.chars().take(text.chars().count() / 2).collect();
        let again = (text.as_str(), of("again"));
        for (payload, outcome) in
            [(text.as_str(), of("becomes")), again, (&half, of("cut")), ("", "ignored")]
        {
            system.publish(topic, payload.as_bytes()).await?;
            expected.count(outcome);
            sent += 1;
        }
    }

    let mut kept = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let (what, payload) = (&entry["what"], &entry["payload"]);
        let device = format!("d{number}");
        let ids = json!({"user_id": "http", "device_id": device});
        let Some(unnumbered) = with(payload, &ids) else { continue };
        let whole = with(&unnumbered, &json!({"sequence_id": number})).context("an object")?;
        let body = json!([whole, unnumbered]);
        let verdicts = system.post("/api/v1/telemetry", &body).send().await?.error_for_status()?;
        let verdicts: Value = verdicts.json().await?;
        let [first, second] = [0, 1].map(|index| verdicts["items"][index].clone());
        ensure!(second["verdict"] == "rejected", "{what}: {second}");
        let verdict = first["verdict"].as_str().context("a verdict")?.to_owned();
        ensure!(verdict == "accepted" || first["reason"].is_string(), "{what}: {first}");
        let numbered = with(payload, &json!({"sequence_id": number})).context("an object")?;
        let topic = format!("users/mqtt/devices/{device}/telemetry");
        system.publish(&topic, numbered.to_string().as_bytes()).await?;
        expected.count(&verdict);
        sent += 3;
        if verdict == "accepted" {
            kept.push((device, payload.as_object().context("an object")?));
        }
    }
    ensure!(sent >= 200 && kept.len() >= 24, "{sent} sent, {} kept", kept.len());

    let jetstream = async_nats::jetstream::new(async_nats::connect(system.nats.url()).await?);
    eventually("the demands can be taken", async || {
        Ok(jetstream.get_stream("COMMANDS").await.is_ok())
    })
    .await?;
    let demands = [r#"{"add_up_to": 2, "done": false}"#, r#"{"add_up_to": 2.5}"#, "nonsense"];
    for demand in demands {
        jetstream.publish("commands.works.demand", demand.into()).await?.await?;
    }

    eventually("the bridge has settled all messages", async || {
        let counters = system.bridge().await?;
        Ok(counters.settled() == expected.appended + expected.duplicate + expected.rejected)
    })
    .await?;
    let counters = system.bridge().await?;
    let now = Expected {
        appended: counters.appended,
        duplicate: counters.duplicate,
        rejected: counters.rejected,
    };
    assert_eq!(now, expected);

    for (device, payload) in &kept {
        for user in ["mqtt", "http"] {
            let stream = format!("/api/v1/streams/device-{user}~{device}");
            let events = system.json(&stream).await?;
            let data = &events["items"][0]["data"];
            let lost = lost(payload, data);
            ensure!(lost.is_empty(), "{user} {device}: {lost:?} of {data}");
        }
    }
    eventually("the demands are recorded", async || {
        let works = "select count(*) from log.event where event_type = 'work_demanded'";
        let refused = "select count(*) from log.event where stream_id = 'rejection-nats'";
        Ok((system.number(works).await?, system.number(refused).await?) == (1, 2))
    })
    .await?;
    let unexplained = "select count(*) from log.event
        where event_type = 'message_rejected' and coalesce(data ->> 'reason', '') = ''";
    assert_eq!(system.number(unexplained).await?, 0);
    system.caught_up().await?;
    let readings = "select count(*) from log.event where event_type = 'reading_recorded'";
    let stored = "select count(*) from telemetry.reading";
    assert_eq!(system.number(readings).await?, system.number(stored).await?);
    eventually("the relay has published everything", async || {
        let lag = system.json("/api/v1/projections").await?;
        let items = lag["items"].as_array().context("a list")?;
        let relay = items.iter().find(|item| item["name"] == "relay").context("the relay")?;
        Ok(relay["events_behind"] == 0)
    })
    .await
}
