//! What the console reads besides its stream: conservation of stock, verification of the log, and what
//! runs here.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

use crate::orders::{customer, place, product, until};

#[tokio::test]
async fn stock_adds_up_after_corrections_shipments_and_cancellations() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    let buyer = customer(&system).await?;
    let hat = product(&operator, "HAT-1", "9.90", 10).await?;
    let path = format!("/api/v1/products/{hat}");
    let correction = json!({"quantity": -1, "reason": "broken"});
    operator.command(Method::POST, &format!("{path}/stock"), &correction).await?;
    let shipped = place(&buyer, &[(&hat, 3)]).await?;
    let cancelled = place(&buyer, &[(&hat, 2)]).await?;
    let open = place(&buyer, &[(&hat, 1)]).await?;
    for order in [&shipped, &cancelled, &open] {
        until(&operator, order, "confirmed").await?;
    }
    operator.command(Method::POST, &format!("{shipped}/ship"), &json!({})).await?;
    operator.command(Method::POST, &format!("{cancelled}/cancel"), &json!({})).await?;
    let refused = place(&buyer, &[(&hat, 50)]).await?;
    until(&operator, &refused, "cancelled").await?;
    eventually("the stock has settled", async || {
        let sums = operator.json(&format!("{path}/conservation")).await?;
        assert_eq!(sums["holds"], true, "{sums:#}");
        let number = |name: &str| sums[name].as_i64().unwrap_or_default();
        assert_eq!(
            number("received"),
            number("available") + number("reserved") + number("shipped"),
            "{sums:#}"
        );
        let is_current = sums["log"]["version"] == sums["version"];
        Ok(is_current && sums["shipped"] == 3 && sums["reserved"] == 1)
    })
    .await?;
    let sums = operator.json(&format!("{path}/conservation")).await?;
    assert_eq!((&sums["received"], &sums["available"]), (&json!(9), &json!(5)), "{sums:#}");
    let log = &sums["log"];
    assert_eq!(log["open_reservations"], 1);
    assert_eq!((&log["available"], &log["shipped"]), (&json!(5), &json!(3)));
    assert_eq!(buyer.get(&format!("{path}/conservation")).send().await?.status(), 403);
    let unknown = "/api/v1/products/01890a5d-ac96-774b-bcce-b302099a8057/conservation";
    assert_eq!(operator.get(unknown).send().await?.status(), 404);
    Ok(())
}

#[tokio::test]
async fn one_verification_runs_at_a_time_and_finds_a_changed_event() -> Result<()> {
    const LAST: &str = "/api/v1/verifications/last";
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let operator = system.caller(&system.token);
    assert_eq!(operator.json(LAST).await?["state"], Value::Null, "none was requested");
    for first in (0..10_000).step_by(1_000) {
        let readings: Vec<_> = (first..first + 1_000)
            .map(|n| json!({"user_id": "u", "device_id": "d", "sequence_id": n}))
            .collect();
        system.post("/api/v1/telemetry", &json!(readings)).send().await?.error_for_status()?;
    }
    let start = async || operator.post("/api/v1/verifications", &Value::Null).send().await;
    let ended = async |state: &str| -> Result<Value> {
        eventually(state, async || Ok(operator.json(LAST).await?["state"] == state)).await?;
        operator.json(LAST).await
    };
    let (one, other) = tokio::try_join!(start(), start())?;
    let mut statuses = [one.status().as_u16(), other.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409]);
    let refused = if one.status() == 409 { one } else { other };
    assert_eq!(refused.json::<Value>().await?["code"], "verification_is_running");
    let passed = ended("passed").await?;
    assert_eq!((&passed["position"], &passed["head"]), (&json!(10_000), &json!(10_000)));
    assert_eq!((&passed["fault"], &passed["count"]), (&Value::Null, &json!(0)));
    ensure!(passed["finished_at"].is_string() && passed["started_at"].is_string());

    system.skip_end_check();
    let change = "update log.event set event_type = 'changed' where position = 4321";
    sqlx::query(change).execute(&system.admin).await?;
    assert_eq!(start().await?.status(), 202);
    let failed = ended("failed").await?;
    assert_eq!((&failed["count"], &failed["findings"][0]["position"]), (&json!(1), &json!(4321)));
    let fault = failed["fault"].as_str().context("a fault")?;
    ensure!(fault.starts_with("position 4321: ") && fault.contains("was changed"), "{fault}");
    Ok(())
}

#[tokio::test]
async fn about_shows_build_roles_servers_and_configuration_without_secrets() -> Result<()> {
    let system = System::start().await?;
    let password = "correct-horse-battery";
    let more = [("MQTT_USERNAME", "bridge"), ("MQTT_PASSWORD", password)];
    let _process = system.serve_with(&[], &more).await?;
    eventually("NATS is connected", async || {
        Ok(system.json("/api/v1/about").await?["nats"]["connected"] == true)
    })
    .await?;
    let about = system.json("/api/v1/about").await?;
    let version = system.run(&["--version"]).await?;
    ensure!(version.contains(about["version"].as_str().context("a version")?), "{version}");
    assert_eq!(about["roles"].as_array().map(Vec::len), Some(5), "{about:#}");
    ensure!(about["postgres"]["version"].is_string(), "{about:#}");
    ensure!(about["nats"]["version"].is_string() && about["nats"]["compression"].is_boolean());
    ensure!(about["broker"]["connected"].is_boolean(), "{about:#}");
    assert_eq!(about["epoch"], 1);
    assert_eq!(about["configuration"]["http"]["http_streams"], 16);
    ensure!(!about.to_string().contains(password), "a secret is shown");
    Ok(())
}
