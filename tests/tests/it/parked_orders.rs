//! An event of one order that cannot be applied, or that kills the process: the order is parked,
//! and everything else continues.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Caller, System, eventually};

use crate::orders::{customer, place, product, until};
use crate::parked::{inject, parked, repair};

/// Returns the stream of the order with this path.
fn stream(order: &str) -> String {
    format!("order-{}", order.rsplit('/').next().unwrap_or_default())
}

/// Returns the event types in the history of an order.
async fn history(caller: &Caller, order: &str) -> Result<Vec<String>> {
    let shown = caller.json(order).await?;
    let entries = shown["history"].as_array().context("a history")?.iter();
    Ok(entries.map(|entry| entry["event"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Checks that commands of other contexts appear in their read models.
async fn other_contexts_continue(system: &System, sequence: i64) -> Result<()> {
    let operator = system.caller(system.token.clone());
    let work = operator.command(Method::POST, "/api/v1/works", &json!({"add_up_to": 2})).await?;
    let path = format!("/api/v1/works/{}", work["id"].as_str().context("an id")?);
    eventually("a work is done", async || Ok(operator.json(&path).await?["done"] == true)).await?;
    let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": sequence}]);
    operator.command(Method::POST, "/api/v1/telemetry", &reading).await?;
    let device = operator.json("/api/v1/users/u/devices/d").await?;
    ensure!(device.to_string().contains(&sequence.to_string()), "{device}");
    Ok(())
}

/// Returns the keys of parked streams.
fn keys(list: &Value) -> BTreeSet<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|row| row["key"].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_parked_order_stops_no_other() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _process = system.serve(&[]).await?;
    let operator = system.caller(system.token.clone());
    let hat = product(&operator, "HAT", "9.90", 100).await?;
    let customer = customer(&system).await?;
    let poisoned = place(&customer, &[(&hat, 3)]).await?;
    until(&customer, &poisoned, "confirmed").await?;
    let before = history(&customer, &poisoned).await?;
    assert_eq!(before, ["placed", "stock_reserved", "confirmed"]);

    // An event that cannot be decoded, and two more of the stream.
    let order = stream(&poisoned);
    let bad = inject(&system, &order, "order_cancelled", r#"{"reason": 7}"#).await?;
    inject(&system, &order, "order_shipped", "{}").await?;
    let list = parked(&system, 3).await?;
    let consumers = ["fulfilment", "order_deadlines", "order_list"];
    let all = BTreeSet::from(consumers.map(|consumer| format!("{consumer}:{order}")));
    assert_eq!(keys(&list), all, "only consumers of orders");
    for row in list["items"].as_array().context("a list")? {
        assert_eq!((&row["position"], &row["attempts"]), (&json!(bad), &json!(1)), "{row}");
        assert!(
            row["error"]
                .as_str()
                .is_some_and(|error| error.contains("the data does not fit the event type")),
            "{row}"
        );
    }
    let output = system.run(&["parked", "list"]).await?;
    assert!(all.iter().all(|key| output.contains(key.as_str())), "{output}");
    let model = system.json("/api/v1/projections/order_list").await?;
    assert_eq!((&model["parked"], &model["state"]), (&json!(1), &json!("live")), "{model}");

    // Other orders, read models and process managers continue.
    inject(&system, &order, "order_shipped", "{}").await?;
    for n in 0..3 {
        let other = place(&customer, &[(&hat, 1)]).await?;
        until(&customer, &other, "confirmed").await?;
        operator.command(Method::POST, &format!("{other}/ship"), &json!({})).await?;
        eventually("it is shipped, with its stock", async || {
            let done = ["placed", "stock_reserved", "confirmed", "shipped", "stock_shipped"];
            Ok(history(&customer, &other).await? == done)
        })
        .await?;
        other_contexts_continue(&system, 100 + n).await?;
    }
    system.caught_up().await?;
    assert_eq!(keys(&system.json("/api/v1/parked").await?), all, "no further stream");
    assert_eq!(customer.json(&poisoned).await?["status"], "confirmed", "its events wait");
    assert_eq!(history(&customer, &poisoned).await?, before, "later events wait, too");
    let shown = operator.json(&format!("/api/v1/products/{hat}")).await?;
    assert_eq!(shown["stock"], json!({"available": 94, "reserved": 3, "shipped": 3}));

    // After the fix, a retry applies all events.
    repair(&system, bad, r#"{"reason": {"code": "requested"}}"#).await?;
    let output = system.run(&["parked", "retry", "--all"]).await?;
    assert_eq!(output.matches("resumed").count(), 3, "{output}");
    parked(&system, 0).await?;
    assert_eq!(customer.json(&poisoned).await?["status"], "shipped", "the last of them");
    let order_events = async || -> Result<Vec<String>> {
        let all = history(&customer, &poisoned).await?;
        Ok(all.into_iter().filter(|event| !event.starts_with("stock_")).collect())
    };
    assert_eq!(
        order_events().await?,
        ["placed", "confirmed", "cancelled", "shipped", "shipped"],
        "in order, once each"
    );
    // The cancellation released the stock once; the later events have no effect.
    eventually("its stock is released", async || {
        let shown = operator.json(&format!("/api/v1/products/{hat}")).await?;
        Ok(shown["stock"] == json!({"available": 97, "reserved": 0, "shipped": 3}))
    })
    .await?;
    // The stream is no longer parked.
    inject(&system, &order, "order_shipped", "{}").await?;
    eventually("one more", async || Ok(order_events().await?.len() == 6)).await?;
    parked(&system, 0).await?;
    system.caught_up().await?;
    let verified = system.run(&["rebuild", "order_list", "stock_level", "--verify"]).await?;
    assert_eq!(verified.matches("replaced").count(), 2, "the same as a rebuild: {verified}");
    Ok(())
}

/// Applying this order's confirmation never ends; the test kills the process that tries.
const DEADLY: &str = "
    create function public.deadly() returns trigger language plpgsql as
      $$ begin perform pg_sleep(3600); return new; end $$;
    create trigger deadly before update on order_list.purchase
      for each row when (new.total = '666.00') execute function public.deadly()";

/// Whether a process is applying it.
const APPLYING: &str = "select count(*) from pg_stat_activity
                     where datname = current_database() and wait_event = 'PgSleep'";

#[tokio::test]
async fn an_order_that_kills_the_process_is_parked_after_its_attempts() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // Injected events are not in the hash chain.
    let _http = system.serve(&["http"]).await?;
    let projector = system.serve(&["projector"]).await?;
    let operator = system.caller(system.token.clone());
    let cheap = product(&operator, "CHEAP", "1.00", 0).await?;
    let evil = product(&operator, "EVIL", "666.00", 0).await?;
    let customer = customer(&system).await?;
    let (before, deadly, after) = (
        place(&customer, &[(&cheap, 1)]).await?,
        place(&customer, &[(&evil, 1)]).await?,
        place(&customer, &[(&cheap, 2)]).await?,
    );
    system.caught_up().await?;
    projector.kill().await?;
    sqlx::raw_sql(DEADLY).execute(&system.admin).await?;
    let mut kills = 0;
    for order in [&before, &deadly, &after] {
        let position = inject(&system, &stream(order), "order_confirmed", "{}").await?;
        if order == &deadly {
            kills = position;
        }
    }
    inject(&system, &stream(&deadly), "order_shipped", "{}").await?;

    // The test kills the process and restarts it, as a supervisor would.
    let is_parked = "select count(*) from log.parked where parked and consumer = 'order_list'";
    let mut deaths = 0;
    let _last = loop {
        let process = system.serve(&["projector"]).await?;
        eventually("a process applies the event or has parked it", async || {
            Ok(system.number(APPLYING).await? > 0 || system.number(is_parked).await? > 0)
        })
        .await?;
        if system.number(is_parked).await? > 0 {
            break process;
        }
        process.kill().await?;
        // Postgres notices late that its client is gone.
        eventually("its locks are gone", async || {
            let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                       where datname = current_database() and wait_event = 'PgSleep'";
            Ok(system.number(end).await? == 0)
        })
        .await?;
        deaths += 1;
        ensure!(deaths < 40, "the event is never parked");
    };
    system.caught_up().await?;
    let list = parked(&system, 1).await?;
    let row = &list["items"][0];
    let key = format!("order_list:{}", stream(&deadly));
    assert_eq!((&row["key"], &row["position"]), (&json!(key), &json!(kills)), "{list}");
    assert_eq!(row["error"], "killed the process");
    ensure!(deaths >= 3, "{deaths} deaths are fewer than its attempts");
    for order in [&before, &after] {
        assert_eq!(customer.json(order).await?["status"], "confirmed", "other orders continue");
    }
    assert_eq!(customer.json(&deadly).await?["status"], "pending", "its events wait");
    let suspects = "select count(*) from log.parked where not parked";
    assert_eq!(system.number(suspects).await?, 0, "no other stream is suspected");

    // After the fix, a retry applies all events.
    sqlx::raw_sql("drop trigger deadly on order_list.purchase").execute(&system.admin).await?;
    let output = system.run(&["parked", "retry", &key]).await?;
    assert!(output.contains("resumed"), "{output}");
    assert_eq!(history(&customer, &deadly).await?, ["placed", "confirmed", "shipped"]);
    Ok(())
}
