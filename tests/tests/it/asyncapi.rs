//! The `AsyncAPI` document is valid, its examples conform to it, and so do the messages that the
//! system publishes on NATS and MQTT.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tests::{DEADLINE, System, eventually};
use tokio::time::timeout;

use crate::subscribers::install;

/// Checks `value` against `schema`, which may refer to other parts of the document.
fn conforms(document: &Value, schema: &Value, value: &Value) -> Result<()> {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::draft7::new(&schema)?;
    let faults: Vec<_> = validator.iter_errors(value).map(|fault| fault.to_string()).collect();
    ensure!(faults.is_empty(), "{value}: {faults:?}");
    Ok(())
}

fn messages(document: &Value) -> Result<&Map<String, Value>> {
    document["components"]["messages"].as_object().context("messages")
}

#[tokio::test]
async fn the_document_is_asyncapi_and_its_examples_conform_to_it() -> Result<()> {
    let system = System::start().await?;
    let document: Value = serde_json::from_str(&system.run(&["asyncapi"]).await?)?;
    let specs = install("asyncapi").await?.join("node_modules/@asyncapi/specs/schemas");
    let schema = std::fs::read_to_string(specs.join("3.0.0-without-$id.json"))?;
    let validator = jsonschema::draft7::new(&serde_json::from_str(&schema)?)?;
    let faults = |document: &Value| -> Vec<String> {
        let faults = validator.iter_errors(document);
        faults.map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
    };
    assert_eq!(faults(&document), Vec::<String>::new());
    let mut wrong = document.clone();
    wrong["operations"]["telemetry"]["action"] = "shout".into();
    assert!(!faults(&wrong).is_empty(), "a wrong document is found out");

    for (name, message) in messages(&document)? {
        let examples = message["examples"].as_array().context("examples")?;
        ensure!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let payload = &example["payload"];
            conforms(&document, &message["payload"], payload).with_context(|| name.clone())?;
            if let Some(headers) = message.get("headers") {
                conforms(&document, headers, &example["headers"]).with_context(|| name.clone())?;
            }
        }
    }
    Ok(())
}

/// The test sends a few requests of several contexts and compares all messages with the document.
async fn live(system: &System) -> Result<()> {
    let admin = system.caller(system.token.clone());
    let post = async |path: &str, body: Value| admin.command(Method::POST, path, &body).await;
    let product = json!({"sku": "S", "name": "N", "price": "1.00", "currency": "EUR"});
    let product = post("/api/v1/products", product).await?;
    let product = product["id"].as_str().context("an id")?;
    let stock = json!({"quantity": 5, "reason": "delivery"});
    post(&format!("/api/v1/products/{product}/stock"), stock).await?;
    post("/api/v1/orders", json!({"items": [{"product_id": product, "quantity": 2}]})).await?;
    let user =
        json!({"email": "a@example.org", "password": "correct horse battery", "full_name": "A"});
    post("/api/v1/users", user).await?;
    post("/api/v1/projects", json!({"name": "P"})).await?;
    Ok(())
}

#[tokio::test]
async fn real_messages_conform_to_the_document() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let answer = system.http.get(format!("{}/asyncapi.json", system.url())).send().await?;
    let document: Value = answer.error_for_status()?.json().await?;
    let printed: Value = serde_json::from_str(&system.run(&["asyncapi"]).await?)?;
    assert_eq!(document, printed);
    let known = messages(&document)?;
    let example = |name: &str| known[name]["examples"][0]["payload"].clone();

    // The examples of received messages are accepted.
    let client = async_nats::connect(system.nats.url()).await?;
    let mut heads = client.subscribe("log.head").await?;
    client.flush().await?;
    let mut alerts = system.subscribe("users/+/devices/+/alerts").await?;
    for name in ["config", "telemetry", "status", "host_metrics"] {
        let address = document["channels"][name]["address"].as_str().context("an address")?;
        let names = [("{user_id}", "ada"), ("{device_id}", "kitchen"), ("{host}", "web-1")];
        let topic = names
            .iter()
            .fold(address.to_owned(), |topic, (parameter, name)| topic.replace(parameter, name));
        system.publish(&topic, example(name).to_string().as_bytes()).await?;
    }
    eventually("all are recorded", async || Ok(system.bridge().await?.settled() >= 4)).await?;
    assert_eq!(system.bridge().await?.rejected, 0);
    let low = br#"{"sequence_id": 43, "battery": 7}"#;
    system.publish("users/ada/devices/kitchen/telemetry", low).await?;
    let alert = alerts.next().await?;
    let (_, alert) = alert.split_once(' ').context("a topic and a payload")?;
    conforms(&document, &known["alerts"]["payload"], &serde_json::from_str(alert)?)?;
    let demand = example("works_demand").to_string();
    client.publish("commands.works.demand", demand.into()).await?;
    live(&system).await?;
    eventually("the work is done, the order confirmed", async || {
        let done = "select count(*) from log.event
                    where event_type in ('work_completed', 'order_confirmed')";
        Ok(system.number(done).await? == 2)
    })
    .await?;

    let head = timeout(DEADLINE, heads.next()).await?.context("a wake-up")?;
    let head = Value::from(std::str::from_utf8(&head.payload)?);
    conforms(&document, &known["log_head"]["payload"], &head)?;

    let count = system.head().await?;
    let stream = async_nats::jetstream::new(client).get_stream("EVENTS").await?;
    let config = OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let mut events = stream.create_consumer(config).await?.messages().await?;
    let mut contexts = BTreeSet::new();
    for _ in 0..count {
        let event = timeout(DEADLINE, events.next()).await?.context("an event")??;
        let headers = event.headers.as_ref().context("headers")?;
        let headers: Map<String, Value> = headers
            .iter()
            .filter_map(|(name, values)| Some((name.to_string(), values.first()?.as_str().into())))
            .collect();
        let subject = event.subject.to_string();
        let tokens: Vec<_> = subject.split('.').collect();
        let channel = &document["channels"][format!("events_{}", tokens[1])];
        for (token, parameter) in [(2, "category"), (4, "event_type")] {
            let listed = channel["parameters"][parameter]["enum"].as_array().context("a list")?;
            assert!(listed.contains(&json!(tokens[token])), "{subject}");
        }
        let message = &known[tokens[4]];
        for name in headers.keys() {
            let described = &document["components"]["schemas"]["EventHeaders"]["properties"];
            assert!(described.get(name).is_some(), "{name} is not described");
        }
        conforms(&document, &message["headers"], &headers.into()).context(subject.clone())?;
        let payload: Value = serde_json::from_slice(&event.payload)?;
        conforms(&document, &message["payload"], &payload).context(subject.clone())?;
        for member in payload.as_object().context("an object")?.keys() {
            let described = &message["payload"]["properties"];
            assert!(described.get(member).is_some(), "{subject}: {member} is not described");
        }
        contexts.insert(tokens[1].to_owned());
    }
    let met: Vec<_> = contexts.iter().map(String::as_str).collect();
    let expected = ["alerts", "host", "orders", "projects", "telemetry", "users", "works"];
    assert_eq!(met, expected);
    Ok(())
}
