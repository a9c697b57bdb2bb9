//! Parked streams: shown, retried and skipped, with events applied in order.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};
use uuid::Uuid;

/// Data that cannot be decoded as a claim.
const POISON: &str = r#"{"worker": 7}"#;
const CLAIMED: &str = r#"{"worker":"w","attempt":1,"lease_until":"2036-01-01T00:00:30Z"}"#;
const STARTED: &str = r#"{"attempt":1}"#;

/// Inserts an event directly into the table, without its link of the hash chain. Returns its
/// position.
pub(crate) async fn inject(
    system: &System,
    stream: &str,
    event_type: &str,
    data: &str,
) -> Result<i64> {
    inject_version(system, stream, event_type, 1, data).await
}

pub(crate) async fn inject_version(
    system: &System,
    stream: &str,
    event_type: &str,
    schema_version: i16,
    data: &str,
) -> Result<i64> {
    let mut transaction = system.admin.begin().await?;
    // A statement that waits for this lock itself does not see the versions appended meanwhile.
    sqlx::query("select from log.head for update").execute(&mut *transaction).await?;
    let position = sqlx::query_scalar(
        "with head as (
           update log.head set position = position + 1 returning position, recorded_at
         )
         insert into log.event (position, version, recorded_at, event_id, schema_version,
                                event_type, stream_id, data, metadata, hash)
         select position,
                1 + coalesce((select max(version) from log.event where stream_id = $1), 0),
                recorded_at, $2, $5, $3, $1, $4::json, '{}', '' from head returning position",
    )
    .bind(stream)
    .bind(Uuid::now_v7())
    .bind(event_type)
    .bind(data)
    .bind(schema_version)
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(position)
}

/// Replaces the data of an event, so that it can be decoded as a fixed version would decode it.
pub(crate) async fn repair(system: &System, position: i64, data: &str) -> Result<()> {
    sqlx::query("update log.event set data = $2::json where position = $1")
        .bind(position)
        .bind(data)
        .execute(&system.admin)
        .await?;
    Ok(())
}

/// Demands a work. Returns its stream and its path.
async fn work(system: &System) -> Result<(String, String)> {
    let answer = system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?;
    let work: Value = answer.error_for_status()?.json().await?;
    let id = work["id"].as_str().unwrap_or_default();
    Ok((format!("work-{id}"), format!("/api/v1/works/{id}")))
}

pub(crate) async fn parked(system: &System, count: usize) -> Result<Value> {
    eventually("the number of parked streams", async || {
        let list = system.json("/api/v1/parked").await?;
        Ok(list["items"].as_array().is_some_and(|items| items.len() == count))
    })
    .await?;
    system.json("/api/v1/parked").await
}

#[tokio::test]
async fn a_retry_brings_the_stream_up_to_date_in_order() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _process = system.serve(&["http", "projector"]).await?;
    let (stream, path) = work(&system).await?;
    let bad = inject(&system, &stream, "work_claimed", POISON).await?;
    let waits = inject(&system, &stream, "work_started", STARTED).await?;
    let (_, other) = work(&system).await?;
    system.caught_up().await?;
    assert_eq!(system.json(&other).await?["status"], "demanded", "other streams continue");
    let list = parked(&system, 1).await?;
    let key = format!("works:{stream}");
    let row = &list["items"][0];
    assert_eq!(
        (&row["key"], &row["position"], &row["attempts"]),
        (&json!(key), &json!(bad), &json!(1))
    );
    let shown = system.json(&format!("/api/v1/parked/{key}")).await?;
    assert_eq!(shown["event"]["type"], "work_claimed", "{shown}");

    // Without a fix it is parked again at the same event.
    let caller = system.caller(system.token.clone());
    let retry = format!("/api/v1/parked/{key}/retry");
    let outcome = caller.command(Method::POST, &retry, &json!({})).await?;
    assert_eq!(outcome["outcome"], "parked", "{outcome}");
    assert_eq!(outcome["parked"]["position"], bad);
    assert_eq!(outcome["parked"]["attempts"], 2);

    // The next event of the stream is poison, too: the retry ends there.
    repair(&system, bad, CLAIMED).await?;
    repair(&system, waits, "[]").await?;
    let outcome = caller.command(Method::POST, &retry, &json!({})).await?;
    assert_eq!(outcome["parked"]["position"], waits, "{outcome}");
    assert_eq!(outcome["parked"]["attempts"], 1);

    repair(&system, waits, STARTED).await?;
    let output = system.run(&["parked", "retry", "--all"]).await?;
    assert!(output.contains("resumed"), "{output}");
    assert_eq!(system.json(&path).await?["status"], "started", "both were applied, in order");
    parked(&system, 0).await?;
    assert!(system.run(&["parked", "retry", &key]).await.is_err(), "no stream is parked");

    // The stream is no longer parked: later events are applied without a retry.
    let position = inject(&system, &stream, "work_claimed", POISON).await?;
    let list = parked(&system, 1).await?;
    assert_eq!(list["items"][0]["position"], position);
    Ok(())
}

#[tokio::test]
async fn a_skipped_event_is_not_applied_and_is_recorded() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _process = system.serve(&["http", "projector"]).await?;
    let (stream, path) = work(&system).await?;
    let bad = inject(&system, &stream, "work_claimed", POISON).await?;
    inject(&system, &stream, "work_claimed", CLAIMED).await?;
    let key = format!("works:{stream}");
    parked(&system, 1).await?;
    let skip = format!("/api/v1/parked/{key}/skip");
    let refused = system.post(&skip, &json!({"reason": ""})).send().await?;
    assert_eq!(refused.status(), 422);
    let output = system.run(&["parked", "skip", &key, "--reason", "never was"]).await?;
    assert!(output.contains("resumed"), "{output}");
    parked(&system, 0).await?;
    assert_eq!(system.json(&path).await?["status"], "claimed", "the later one was applied");
    let skipped = system.json("/api/v1/skipped").await?;
    let row = &skipped["items"][0];
    assert_eq!((&row["position"], &row["reason"]), (&json!(bad), &json!("never was")), "{skipped}");
    assert!(row["skipped_by"].is_string() && row["skipped_at"].is_string(), "{skipped}");
    Ok(())
}

#[tokio::test]
async fn a_process_manager_reacts_to_an_event_after_its_retry() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let caller = system.caller(system.token.clone());
    let product = json!({"sku": "s", "name": "N", "price": "1.50", "currency": "EUR"});
    let product = caller.command(Method::POST, "/api/v1/products", &product).await?;
    let id = product["id"].as_str().unwrap_or_default();
    let stock = json!({"quantity": 10, "reason": "delivery"});
    caller.command(Method::POST, &format!("/api/v1/products/{id}/stock"), &stock).await?;
    let mut orders = Vec::new();
    for _ in 0..2 {
        let order = json!({"items": [{"product_id": id, "quantity": 1}]});
        let order = caller.command(Method::POST, "/api/v1/orders", &order).await?;
        orders.push(order["id"].as_str().unwrap_or_default().to_owned());
    }
    // Parks the first event of the first order.
    sqlx::query(
        "insert into log.parked (consumer, stream_id, position, attempts, error, parked)
         select 'fulfilment', stream_id, position, 3, 'by a test', true from log.event
         where stream_id = 'order-' || $1 and version = 1",
    )
    .bind(&orders[0])
    .execute(&system.admin)
    .await?;
    let _worker = system.serve(&["worker"]).await?;
    let status = async |order: &str| -> Result<Value> {
        Ok(caller.json(&format!("/api/v1/orders/{order}")).await?["status"].clone())
    };
    eventually("the other order is confirmed", async || {
        Ok(status(&orders[1]).await? == "confirmed")
    })
    .await?;
    assert_eq!(status(&orders[0]).await?, "pending", "its events wait");
    let key = format!("fulfilment:order-{}", orders[0]);
    let outcome =
        caller.command(Method::POST, &format!("/api/v1/parked/{key}/retry"), &json!({})).await?;
    assert_eq!(outcome["outcome"], "applied", "{outcome}");
    eventually("the parked order is confirmed", async || {
        Ok(status(&orders[0]).await? == "confirmed")
    })
    .await?;
    Ok(())
}
