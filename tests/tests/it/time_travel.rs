//! The state of a stream at a position or time, and causation trees.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

#[tokio::test]
async fn a_stream_has_a_state_at_a_position_or_time() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let admin = system.caller(system.token.clone());
    let body = json!({"sku": "S", "name": "Old", "price": "1.00", "currency": "EUR"});
    let product = admin.command(Method::POST, "/api/v1/products", &body).await?;
    let id = product["id"].as_str().context("an id")?;
    let stream = format!("/api/v1/streams/product-{id}");
    let then = system.json(&stream).await?["items"][0].clone();
    for name in ["Newer", "Newest"] {
        let path = format!("/api/v1/products/{id}");
        admin.command(Method::PATCH, &path, &json!({"name": name})).await?;
    }
    let at = async |at: &str| system.json(&format!("{stream}?at={at}")).await;
    let now = at(&system.head().await?.to_string()).await?;
    assert_eq!((&now["state"]["listed"]["name"], &now["version"]), (&json!("Newest"), &json!(3)));
    let position = then["position"].to_string();
    assert_eq!(at(&position).await?["state"]["listed"]["name"], "Old");
    let time = then["recorded_at"].as_str().context("a time")?;
    assert_eq!(at(time).await?["state"]["listed"]["name"], "Old");
    assert_eq!(at("2999-01-01T00:00:00Z").await?["state"]["listed"]["name"], "Newest");
    for (at, status) in [("0", 404), ("1999-01-01T00:00:00Z", 404), ("yesterday", 422)] {
        let answer = system.get(&format!("{stream}?at={at}")).send().await?;
        assert_eq!(answer.status(), status, "{at}");
    }

    // Facts have no decider and no state; secrets are not shown.
    let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": 1}]);
    admin.command(Method::POST, "/api/v1/telemetry", &reading).await?;
    let device = system.json("/api/v1/streams/device-u~d?at=2999-01-01T00:00:00Z").await?;
    assert_eq!((&device["state"], &device["version"]), (&Value::Null, &json!(1)));
    let body =
        json!({"email": "a@example.org", "password": "correct horse battery", "full_name": "A"});
    let user = admin.command(Method::POST, "/api/v1/users", &body).await?;
    let user = user["id"].as_str().context("an id")?;
    let user = system.json(&format!("/api/v1/streams/user-{user}?at=2999-01-01T00:00:00Z")).await?;
    assert_eq!(user["state"]["registered"]["role"], "user");
    assert!(!user.to_string().contains("argon2"), "{user}");
    Ok(())
}

#[tokio::test]
async fn the_causation_tree_of_an_order_and_of_an_alert_has_their_causes() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "worker", "projector"]).await?;
    let admin = system.caller(system.token.clone());
    let body = json!({"sku": "S", "name": "N", "price": "1.00", "currency": "EUR"});
    let product = admin.command(Method::POST, "/api/v1/products", &body).await?;
    let product = product["id"].as_str().context("an id")?;
    let body = json!({"quantity": 5, "reason": "delivery"});
    admin.command(Method::POST, &format!("/api/v1/products/{product}/stock"), &body).await?;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let placed = admin
        .post("/api/v1/orders", &json!({"items": [{"product_id": product, "quantity": 2}]}))
        .header("traceparent", traceparent)
        .header("Prefer", "wait=20")
        .send()
        .await?;
    let begun = placed.headers()["tributary-position"].to_str()?.to_owned();
    let order: Value = placed.json().await?;
    let order = format!("/api/v1/orders/{}", order["id"].as_str().context("an id")?);
    eventually("it is confirmed", async || Ok(system.json(&order).await?["status"] == "confirmed"))
        .await?;
    system.caught_up().await?;
    let trace = system.json(&format!("/api/v1/events/{begun}/trace")).await?;
    let steps: Vec<_> = trace["events"]
        .as_array()
        .context("events")?
        .iter()
        .map(|event| (event["type"].as_str().unwrap_or_default(), event["depth"].as_u64()))
        .collect();
    assert_eq!(
        steps,
        [("order_placed", Some(0)), ("stock_reserved", Some(1)), ("order_confirmed", Some(2))]
    );
    let trace_id = trace["traceparent"].as_str().and_then(|text| text.split('-').nth(1));
    assert_eq!(trace_id, Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(trace["events"][2]["actor"], "fulfilment");
    // Every event of the tree returns the same tree.
    let last = trace["events"][2]["position"].to_string();
    assert_eq!(system.json(&format!("/api/v1/events/{last}/trace")).await?, trace);
    let tree = system.run(&["trace", &begun]).await?;
    assert!(tree.contains("    order_confirmed  order-"), "{tree}");

    // The events of the worker are effects of the demand.
    let demanded = admin.post("/api/v1/works", &json!({"add_up_to": 4})).send().await?;
    let position = demanded.headers()["tributary-position"].to_str()?.to_owned();
    eventually("the work is traced to its demand", async || {
        let trace = system.json(&format!("/api/v1/events/{position}/trace")).await?;
        let steps = trace["events"].as_array().context("events")?.iter();
        let steps: Vec<_> = steps.map(|event| (&event["type"], &event["depth"])).collect();
        let wanted = ["work_demanded", "work_claimed", "work_started", "work_completed"];
        let done = steps.len() == wanted.len();
        Ok(done
            && steps.iter().zip(wanted).all(|((is, _), wanted)| *is == wanted)
            && steps[1..].iter().all(|(_, depth)| **depth == 1))
    })
    .await?;

    // A reading is the root of its own tree.
    let rules = json!({"rules": [{"key": "x", "operator": ">", "threshold": 1}]});
    admin.command(Method::PUT, "/api/v1/users/u/config", &rules).await?;
    let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": 1, "x": 2}]);
    let sent = admin.post("/api/v1/telemetry", &reading).send().await?;
    let position = sent.headers()["tributary-position"].to_str()?.to_owned();
    eventually("the alert is traced to it", async || {
        let trace = system.json(&format!("/api/v1/events/{position}/trace")).await?;
        let effect = &trace["events"][1];
        let caused_by: i64 = position.parse()?;
        Ok(effect["type"] == "alert_raised" && effect["caused_by"] == caused_by)
    })
    .await?;
    assert_eq!(system.get("/api/v1/events/999999/trace").send().await?.status(), 404);
    Ok(())
}
