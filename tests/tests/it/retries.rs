//! Retries of parked streams by process managers and by two processes at once, and skipped events
//! after a rebuild.

use anyhow::{Context, Result, ensure};
use eventsourcing::{Position, StreamId};
use eventstore::parked::{self as parked_streams, Retry};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

use crate::orders::{customer, place, product, until};
use crate::parked::{inject, parked, repair};

/// Data of an order event that cannot be decoded, and its repaired data.
const POISON: &str = r#"{"reason": 7}"#;
const CANCELLED: &str = r#"{"reason": {"code": "requested"}}"#;

/// Returns the alert events of a device, each with the position of its reading.
async fn alerts_of(system: &System, device: &str) -> Result<Vec<(String, i64)>> {
    let page = system.json("/api/v1/events?context=alerts&limit=500").await?;
    let items = page["items"].as_array().context("a list")?.iter();
    let about = items.filter(|event| event["data"]["device_id"] == device);
    about
        .map(|event| {
            let because = event["data"]["because"].as_i64().context("a position")?;
            Ok((event["type"].as_str().unwrap_or_default().to_owned(), because))
        })
        .collect()
}

#[tokio::test]
async fn the_alert_evaluator_resumes_a_parked_device() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _process = system.serve(&["http", "projector", "worker"]).await?;
    let operator = system.caller(system.token.clone());
    let rules = json!({"rules": [{"key": "temperature", "operator": ">", "threshold": 50}]});
    operator.command(Method::PUT, "/api/v1/users/u/config", &rules).await?;
    // Returns the position of the reading.
    let post = async |device: &str, sequence: i64, temperature: f64| -> Result<i64> {
        let reading = json!([{"user_id": "u", "device_id": device, "sequence_id": sequence,
                              "temperature": temperature}]);
        let answer = system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
        Ok(answer.headers()["tributary-position"].to_str()?.parse()?)
    };
    post("sick", 1, 20.0).await?;
    let stream = "device-u~sick";
    let good: String =
        sqlx::query_scalar("select data::text from log.event where stream_id = $1 and version = 1")
            .bind(stream)
            .fetch_one(&system.admin)
            .await?;
    let bad = inject(&system, stream, "reading_recorded", r#"{"temperature": "hot"}"#).await?;
    post("sick", 2, 60.0).await?;
    let cleared_by = post("sick", 3, 20.0).await?;
    post("well", 1, 70.0).await?;
    parked(&system, 2).await?;
    let key = format!("alert_watch:{stream}");
    let shown = system.json(&format!("/api/v1/parked/{key}")).await?;
    assert_eq!((&shown["position"], &shown["event"]["position"]), (&json!(bad), &json!(bad)));
    eventually("another device is evaluated", async || {
        Ok(!alerts_of(&system, "well").await?.is_empty())
    })
    .await?;
    assert_eq!(alerts_of(&system, "sick").await?, [], "later readings wait, too");

    // A retry without a fix.
    let retry = format!("/api/v1/parked/{key}/retry");
    let outcome = operator.command(Method::POST, &retry, &json!({})).await?;
    assert_eq!(outcome["outcome"], "parked", "{outcome}");
    assert_eq!(outcome["parked"]["position"], bad);
    assert_eq!(alerts_of(&system, "sick").await?, []);

    let mut fixed: Value = serde_json::from_str(&good)?;
    fixed["temperature"] = json!(55.0);
    fixed["sequence_id"] = json!(4);
    repair(&system, bad, &fixed.to_string()).await?;
    let output = system.run(&["parked", "retry", &key]).await?;
    assert!(output.contains("resumed"), "{output}");
    let alerts = alerts_of(&system, "sick").await?;
    let first = alerts.first().context("an alert")?;
    let last = alerts.last().context("an alert")?;
    assert_eq!(*first, ("alert_raised".to_owned(), bad), "by the one that was poison: {alerts:?}");
    assert_eq!(*last, ("alert_cleared".to_owned(), cleared_by), "by the last: {alerts:?}");
    let ended = alerts.iter().filter(|(what, _)| what != "alert_updated").count();
    assert_eq!(ended, 2, "once: {alerts:?}");
    ensure!(alerts.is_sorted_by_key(|(_, because)| *because), "in order: {alerts:?}");
    parked(&system, 1).await?; // The read model was not retried.
    let output = system.run(&["parked", "retry", "--all"]).await?;
    assert!(output.contains("resumed"), "{output}");

    // Later readings are evaluated.
    post("sick", 5, 80.0).await?;
    eventually("the device is evaluated", async || {
        Ok(alerts_of(&system, "sick").await?.len() == alerts.len() + 1)
    })
    .await?;
    parked(&system, 0).await?;
    Ok(())
}

/// Records what two processes do to the same orders, and delays them so that they run concurrently.
const WITNESS: &str = "
    create table public.applied (order_id uuid, position bigint);
    create table public.begun (stream_id text);
    create function public.see_applied() returns trigger language plpgsql security definer as
      $$ begin
           insert into public.applied values (new.order_id, new.position);
           perform pg_sleep(0.2);
           return new;
         end $$;
    create trigger witness before insert on order_list.history
      for each row execute function public.see_applied();
    create function public.see_begun() returns trigger language plpgsql security definer as
      $$ begin insert into public.begun values (new.stream_id); return new; end $$;
    create trigger witness before update on log.parked
      for each row when (new.consumer = 'order_list' and new.retry_starts > old.retry_starts)
      execute function public.see_begun()";

#[tokio::test]
async fn of_two_processes_one_performs_a_retry() -> Result<()> {
    const ORDERS: usize = 6;
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _http = system.serve(&["http"]).await?;
    let _first = system.serve(&["projector", "worker"]).await?;
    let _second = system.serve(&["projector", "worker"]).await?;
    let operator = system.caller(system.token.clone());
    let hat = product(&operator, "HAT", "9.90", 100).await?;
    let customer = customer(&system).await?;
    let mut poisoned = Vec::new();
    for _ in 0..ORDERS {
        let order = place(&customer, &[(&hat, 1)]).await?;
        until(&customer, &order, "confirmed").await?;
        let stream = format!("order-{}", order.rsplit('/').next().unwrap_or_default());
        let bad = inject(&system, &stream, "order_cancelled", POISON).await?;
        inject(&system, &stream, "order_shipped", "{}").await?;
        poisoned.push((order, stream, bad));
    }
    let list = parked(&system, 3 * ORDERS).await?;
    sqlx::raw_sql(WITNESS).execute(&system.admin).await?;
    for (_, _, bad) in &poisoned {
        repair(&system, *bad, CANCELLED).await?;
    }

    // Both wait for this lock before either continues.
    let mut held = system.admin.begin().await?;
    let hold =
        "select from log.checkpoint where consumer in ('order_list', 'fulfilment') for update";
    sqlx::query(hold).execute(&mut *held).await?;
    for row in list["items"].as_array().context("a list")? {
        let path = format!("/api/v1/parked/{}/retry", row["key"].as_str().context("a key")?);
        system.post(&path, &json!({})).send().await?.error_for_status()?;
    }
    eventually("both of each wait", async || {
        let sql = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'
                     and query like '%log.checkpoint%'";
        Ok(system.number(sql).await? >= 4)
    })
    .await?;
    held.rollback().await?;
    parked(&system, 0).await?;

    let met = "select count(*) from (
                 select from public.begun group by stream_id having count(*) > 1) as twice";
    ensure!(system.number(met).await? > 0, "the processes did not run concurrently");
    let twice = "select count(*) from (
                   select from public.applied group by order_id, position having count(*) > 1) as t";
    assert_eq!(system.number(twice).await?, 0, "applied twice");
    for (order, stream, bad) in &poisoned {
        let shown = customer.json(order).await?;
        assert_eq!(shown["status"], "shipped", "{shown}");
        let applied: i64 = sqlx::query_scalar(
            "select count(*) from public.applied
             where 'order-' || order_id = $1 and position in ($2, $2 + 1)",
        )
        .bind(stream)
        .bind(bad)
        .fetch_one(&system.admin)
        .await?;
        assert_eq!(applied, 2, "both events of {order}, once each");
    }
    eventually("the stock of all of them is released", async || {
        let shown = operator.json(&format!("/api/v1/products/{hat}")).await?;
        Ok(shown["stock"] == json!({"available": 100, "reserved": 0, "shipped": 0}))
    })
    .await?;
    let released = "select count(*) from log.event where event_type = 'stock_released'";
    assert_eq!(system.number(released).await?, i64::try_from(ORDERS)?, "once each");
    Ok(())
}

#[tokio::test]
async fn a_skipped_event_stays_skipped_after_a_rebuild() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _process = system.serve(&["http", "projector"]).await?;
    let operator = system.caller(system.token.clone());
    let hat = product(&operator, "HAT", "9.90", 1).await?;
    let customer = customer(&system).await?;
    let order = place(&customer, &[(&hat, 1)]).await?;
    let stream = format!("order-{}", order.rsplit('/').next().unwrap_or_default());
    // The skipped event becomes decodable and stays skipped.
    let bad = inject(&system, &stream, "order_cancelled", POISON).await?;
    inject(&system, &stream, "order_confirmed", "{}").await?;
    parked(&system, 1).await?;
    let key = format!("order_list:{stream}");
    system.run(&["parked", "skip", &key, "--reason", "never was"]).await?;
    parked(&system, 0).await?;
    repair(&system, bad, CANCELLED).await?;
    let history = async || -> Result<Vec<String>> {
        let shown = customer.json(&order).await?;
        let entries = shown["history"].as_array().context("a history")?.iter();
        Ok(entries.map(|entry| entry["event"].as_str().unwrap_or_default().to_owned()).collect())
    };
    assert_eq!(history().await?, ["placed", "confirmed"]);

    let before = system.json("/api/v1/skipped").await?;
    let rebuild = ["rebuild", "order_list", "--json"];
    for _ in 0..2 {
        let output = system.run(&[&rebuild[..], &["--verify"]].concat()).await?;
        let ended: Value = serde_json::from_str(&output)?;
        assert_eq!((&ended[0]["replaced"], &ended[0]["parked"]), (&json!(true), &json!(0)));
        assert_eq!(ended[0]["differences"], json!([]));
        assert_eq!(history().await?, ["placed", "confirmed"], "the event stays skipped");
    }
    assert_eq!(
        system.json("/api/v1/skipped").await?["items"],
        before["items"],
        "the reason is unchanged"
    );
    assert_eq!(before["items"][0]["reason"], "never was");
    // The running projection applies later events.
    inject(&system, &stream, "order_shipped", "{}").await?;
    system.caught_up().await?;
    assert_eq!(history().await?, ["placed", "confirmed", "shipped"]);

    // Without the decision to skip, a rebuild applies the event.
    sqlx::query("delete from log.skipped").execute(&system.admin).await?;
    system.run(&rebuild).await?;
    assert_eq!(history().await?, ["placed", "cancelled", "confirmed", "shipped"]);
    Ok(())
}

/// Inserts parked streams of a consumer with requested retries.
async fn insert_requested(system: &System, streams: &[(&StreamId, i64)]) -> Result<()> {
    for (stream, position) in streams {
        sqlx::query(
            "insert into log.parked
               (consumer, stream_id, position, attempts, error, parked, retry_requested_at)
             values ('test', $1, $2, 3, 'by a test', true, now())",
        )
        .bind(stream.as_str())
        .bind(position)
        .execute(&system.admin)
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_retry_that_kills_the_process_does_not_block_others() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Streams stay parked.
    let (deadly, harmless) = (StreamId::new("work", "a"), StreamId::new("work", "b"));
    insert_requested(&system, &[(&deadly, 7), (&harmless, 8)]).await?;
    let mut deaths = 0;
    loop {
        let streams = parked_streams::requested(&system.admin, "test").await?;
        if !streams.contains(&deadly) {
            assert_eq!(
                streams,
                std::slice::from_ref(&harmless),
                "the other retry is still requested"
            );
            break;
        }
        // The process is killed during the first retry.
        assert_eq!(streams[0], deadly);
        if parked_streams::begin(&system.admin, "test", &deadly).await?.is_some() {
            deaths += 1;
        }
        ensure!(deaths < 20, "the retry never ends");
    }
    assert_eq!(deaths, 5);
    let output = "select count(*) from log.parked where error = 'killed the process'";
    assert_eq!(system.number(output).await?, 1);
    let begun = parked_streams::begin(&system.admin, "test", &harmless).await?;
    assert_eq!(begun, Some(Retry { stream: harmless, position: Position(8) }));
    Ok(())
}

#[tokio::test]
async fn an_older_retry_does_not_undo_the_progress_of_a_newer_one() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Streams stay parked.
    let stream = StreamId::new("work", "a");
    insert_requested(&system, &[(&stream, 7)]).await?;
    let begin = async || parked_streams::begin(&system.admin, "test", &stream).await;
    let (newer, older) = (begin().await?.context("it is wanted")?, begin().await?);
    let older = older.context("it is wanted by both")?;
    let mut connection = system.admin.acquire().await?;
    parked_streams::progress(&mut connection, "test", &newer, Position(500)).await?;
    let error = "cannot be read";
    parked_streams::park_again(&mut connection, "test", &older, Position(7), error).await?;
    let row =
        parked_streams::get(&system.admin, "test", stream.as_str()).await?.context("the row")?;
    assert_eq!((row.position, row.retrying), (Position(500), true), "{row:?}");

    // Parking again at the newer position counts one attempt.
    let newer = Retry { position: Position(500), ..newer };
    for _ in 0..2 {
        parked_streams::park_again(&mut connection, "test", &newer, Position(500), error).await?;
    }
    let row =
        parked_streams::get(&system.admin, "test", stream.as_str()).await?.context("the row")?;
    assert_eq!((row.position, row.attempts, row.retrying), (Position(500), 1, false), "{row:?}");
    Ok(())
}
