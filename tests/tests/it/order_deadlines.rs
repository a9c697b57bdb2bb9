//! Deadlines of orders, orders that do not go on, and commands of fulfilment that are refused.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{System, eventually};

use crate::orders::{customer, place, product, until};

fn id_of(order: &str) -> &str {
    order.rsplit('/').next().unwrap_or_default()
}

#[tokio::test]
async fn an_order_expires_without_a_read_model_and_within_its_request() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // The order stays parked.
    let _http = system.serve_with(&["http"], &[("ORDER_TTL", "100ms")]).await?;
    let projector = system.serve(&["projector"]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT", "9.90", 10).await?;
    projector.kill().await?;
    let order = place(&operator, &[(&hat, 3)]).await?;
    sqlx::query("insert into log.parked values ('fulfilment', $1, 1, 3, 'by a test', true)")
        .bind(format!("order-{}", id_of(&order)))
        .execute(&system.admin)
        .await?;
    let _worker = system.serve(&["worker"]).await?;
    eventually("the order has expired", async || {
        let sql = "select count(*) from log.event
                   where event_type = 'order_cancelled' and data ->> 'reason' = 'expired'";
        Ok(system.number(sql).await? == 1)
    })
    .await?;
    let related = "select count(*) from log.event placed, log.event cancelled
                   where placed.event_type = 'order_placed'
                     and cancelled.event_type = 'order_cancelled'
                     and cancelled.metadata ->> 'correlation_id' = placed.metadata ->> 'correlation_id'
                     and cancelled.metadata ->> 'causation_id' = placed.event_id::text";
    assert_eq!(system.number(related).await?, 1);
    eventually("the deadline is gone", async || {
        Ok(system.number("select count(*) from log.deadline").await? == 0)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_confirmed_order_has_no_deadline_and_a_refused_expiry_is_counted() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT", "9.90", 10).await?;
    let order = place(&operator, &[(&hat, 3)]).await?;
    until(&operator, &order, "confirmed").await?;
    eventually("the process has handled the confirmation", async || {
        let reached = "select count(*) from log.checkpoint c, log.head h
                       where consumer = 'order_deadlines' and c.position = h.position";
        Ok(system.number(reached).await? == 1)
    })
    .await?;
    let deadlines = "select count(*) from log.deadline";
    eventually("the deadline is gone", async || Ok(system.number(deadlines).await? == 0)).await?;
    // A deadline that a crash left behind.
    sqlx::query("insert into log.deadline values ('order_deadlines', $1, now(), '{}')")
        .bind(id_of(&order))
        .execute(&system.admin)
        .await?;
    eventually("the deadline is gone", async || Ok(system.number(deadlines).await? == 0)).await?;
    assert_eq!(operator.json(&order).await?["status"], "confirmed");
    let metrics = operator.get("/metrics").send().await?.text().await?;
    let refused = metrics.lines().find(|line| {
        line.starts_with("tributary_process_commands_refused_total")
            && line.contains(r#"process="order_deadlines""#)
            && line.contains(r#"code="order_not_pending""#)
    });
    assert!(refused.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    Ok(())
}

/// Earlier code has sent another command for the same event: the reservation is not taken for done.
#[tokio::test]
async fn a_command_of_changed_code_parks_its_order_which_is_listed_as_stuck() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // The order stays parked.
    let _front = system.serve(&["http", "projector"]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT", "9.90", 10).await?;
    let customer = customer(&system).await?;
    let order = place(&customer, &[(&hat, 3)]).await?;
    sqlx::query(
        "insert into log.receipt (key, fingerprint, position, response, recorded_at)
         select 'fulfilment ' || event_id || ' stock-' || $1, sha256('reserve something else'), 1,
                'null', now()
         from log.event where event_type = 'order_placed'",
    )
    .bind(&hat)
    .execute(&system.admin)
    .await?;
    let _worker = system.serve(&["worker"]).await?;
    let stuck = async || -> Result<Value> {
        Ok(operator.json("/api/v1/stuck-orders").await?["items"][0].clone())
    };
    eventually("the order is stuck", async || Ok(stuck().await?.is_object())).await?;
    let stuck = stuck().await?;
    assert_eq!(stuck["id"], id_of(&order));
    assert_eq!((&stuck["status"], &stuck["waits_for"]), (&json!("pending"), &json!("reservation")));
    assert_eq!(stuck["product_id"], hat.as_str());
    let parked = &stuck["parked"][0];
    assert_eq!(parked["key"], format!("fulfilment:order-{}", id_of(&order)));
    let error = parked["error"].as_str().context("an error")?;
    assert!(error.contains("idempotency key was used before"), "{error}");
    let table = system.run(&["orders", "stuck"]).await?;
    assert!(table.contains(id_of(&order)) && table.contains("reservation"), "{table}");
    let key = parked["key"].as_str().context("a key")?;
    operator.json(&format!("/api/v1/parked/{key}")).await?;
    Ok(())
}
