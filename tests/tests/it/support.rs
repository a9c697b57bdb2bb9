//! What a person at the support desk looks for: alerts, orders, silent devices and causes, by time and
//! by whatever id is at hand.

use anyhow::{Context, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{System, eventually};

use crate::orders::{place, product, until};

fn ids(list: &Value, name: &str) -> Vec<String> {
    let items = list["items"].as_array().or(list.as_array()).cloned().unwrap_or_default();
    items.iter().filter_map(|item| item[name].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn an_order_shows_what_was_wanted_and_available_and_any_id_leads_to_its_causes() -> Result<()>
{
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT-1", "9.90", 1).await?;
    let order = place(&operator, &[(&hat, 3)]).await?;
    let shown = until(&operator, &order, "cancelled").await?;
    let id = shown["id"].as_str().context("an id")?;
    let refused = shown["history"].as_array().context("a history")?;
    let refused = refused.iter().find(|entry| entry["event"] == "stock_refused");
    let refused = refused.context("a refusal")?;
    assert_eq!((&refused["quantity"], &refused["available"]), (&json!(3), &json!(1)));
    let table = system.run(&["order", "show", id]).await?;
    let line = table.lines().find(|line| line.contains("stock_refused")).context("its line")?;
    assert!(line.ends_with("  3         1"), "{table}");
    assert!(table.contains("AVAILABLE") && table.contains("HAT-1"), "{table}");

    // By position, event id, stream, id of the object, and the trace id of the request.
    let placed = format!("/api/v1/events?stream=order-{id}&limit=1");
    let placed = operator.json(&placed).await?["items"][0].take();
    let trace_id = placed["metadata"]["correlation_id"].as_str().context("a correlation")?;
    let trace_id = trace_id.replace('-', "");
    let position = placed["position"].to_string();
    let event = placed["id"].as_str().context("an id")?;
    let stream = format!("order-{id}");
    for named in [position.as_str(), event, id, &stream, &trace_id] {
        let tree = system.run(&["trace", named]).await?;
        for kind in ["order_placed", "stock_refused", "order_cancelled"] {
            assert!(tree.contains(kind), "{named}: {tree}");
        }
    }
    let of_user = json!([{"user_id": "u", "device_id": "d", "sequence_id": 1}]);
    system.post("/api/v1/telemetry", &of_user).send().await?.error_for_status()?;
    assert!(system.run(&["trace", "u/d"]).await?.contains("reading_recorded"));
    for unknown in ["999999", "u/other", "11111111-1111-4111-8111-111111111111", "%", ""] {
        let path = format!("/api/v1/traces/{}", utf8_percent_encode(unknown, NON_ALPHANUMERIC));
        assert_eq!(system.get(&path).send().await?.status(), 404, "{unknown}");
    }
    Ok(())
}

#[tokio::test]
async fn alerts_are_found_by_time_and_show_the_value_that_raised_them() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    let rules = json!({"temperature_max": 20});
    operator.command(Method::PUT, "/api/v1/users/u/config", &rules).await?;
    let mut raised = Vec::new();
    for (count, device) in (1..).zip(["a", "b", "c"]) {
        for (sequence, temperature) in [(1, 21.0), (2, 35.5)] {
            let reading = json!([{
                "user_id": "u", "device_id": device, "sequence_id": sequence,
                "temperature": temperature,
            }]);
            system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
        }
        eventually("the alert is raised", async || {
            Ok(system.number("select count(*) from alerts.alert").await? == count)
        })
        .await?;
        let recorded = "select to_char(max(recorded_at) at time zone 'UTC',
                          'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
                        from log.event where event_type = 'alert_raised'";
        let recorded: String = sqlx::query_scalar(recorded).fetch_one(&system.admin).await?;
        raised.push(recorded);
    }
    system.caught_up().await?;
    let devices = async |query: &str| -> Result<Vec<String>> {
        Ok(ids(&operator.json(&format!("/api/v1/alerts?{query}")).await?, "device_id"))
    };
    assert_eq!(devices("").await?, ["c", "b", "a"]);
    assert_eq!(devices("order=asc").await?, ["a", "b", "c"]);
    assert_eq!(devices(&format!("from={}", raised[1])).await?, ["c", "b"]);
    assert_eq!(devices(&format!("to={}", raised[1])).await?, ["a"]);
    assert_eq!(devices(&format!("from={}&to={}", raised[1], raised[2])).await?, ["b"]);
    // Page by page, in both orders.
    for (order, expected) in [("asc", ["a", "b", "c"]), ("desc", ["c", "b", "a"])] {
        let mut page = Some(format!("/api/v1/alerts?order={order}&limit=1"));
        let mut seen = Vec::new();
        while let Some(path) = page {
            let response = operator.get(&path).send().await?.error_for_status()?;
            let link = response.headers().get("link").map(|link| link.to_str()).transpose()?;
            page =
                link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
            seen.extend(ids(&response.json().await?, "device_id"));
        }
        assert_eq!(seen, expected);
    }
    let alert = operator.json("/api/v1/alerts?device_id=a").await?["items"][0].take();
    assert_eq!(alert["raised_value"], 21.0, "{alert}");
    let list = system.run(&["alert", "list", "--from", "1 hour ago", "--device-id", "a"]).await?;
    assert!(list.contains("RAISED_AT") && list.contains("21.0"), "{list}");
    assert_eq!(system.run(&["alerts", "list", "--to", "yesterday"]).await?.lines().count(), 1);
    Ok(())
}

#[tokio::test]
async fn events_are_listed_newest_first_and_by_time() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    let operator = system.caller(&system.token);
    for _ in 0..7 {
        system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?.error_for_status()?;
    }
    let page = async |path: &str| -> Result<(Vec<i64>, Option<String>)> {
        let response = operator.get(path).send().await?.error_for_status()?;
        let link = response.headers().get("link").map(|link| link.to_str()).transpose()?;
        let next =
            link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
        let body: Value = response.json().await?;
        let items = body["items"].as_array().context("items")?;
        Ok((items.iter().filter_map(|item| item["position"].as_i64()).collect(), next))
    };
    let mut seen = Vec::new();
    let mut path = Some("/api/v1/events?order=desc&limit=3&after=1".to_owned());
    while let Some(next) = path {
        let (positions, following) = page(&next).await?;
        seen.extend(positions);
        path = following;
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2], "the list ends");
    let at: String = sqlx::query_scalar(
        "select to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')
         from log.event where position = 4",
    )
    .fetch_one(&system.admin)
    .await?;
    assert_eq!(page(&format!("/api/v1/events?from={at}")).await?.0, [4, 5, 6, 7]);
    assert_eq!(page(&format!("/api/v1/events?to={at}")).await?, (vec![1, 2, 3], None));
    assert_eq!(
        page(&format!("/api/v1/events?order=desc&to={at}&type=work_demanded")).await?.0,
        [3, 2, 1]
    );
    assert_eq!(page("/api/v1/events?before=3").await?, (vec![1, 2], None));
    assert!(page("/api/v1/events?after=7").await?.1.is_some(), "a feed goes on");
    for empty in [
        "before=0",
        "order=desc&before=0",
        "order=desc&after=7",
        "order=desc&from=2100-01-01T00:00:00Z",
    ] {
        assert_eq!(page(&format!("/api/v1/events?{empty}")).await?, (vec![], None), "{empty}");
    }
    Ok(())
}

#[tokio::test]
async fn devices_that_went_offline_are_listed_the_last_gone_first() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    for (count, device) in (1..).zip(["c", "a", "b"]) {
        for online in [true, false] {
            let payload = json!({"online": online, "session_seq": 1}).to_string();
            system.publish(&format!("users/u/devices/{device}/status"), payload.as_bytes()).await?;
        }
        eventually("the device is offline", async || {
            Ok(system.number("select count(*) from telemetry.device where not online").await?
                == count)
        })
        .await?;
    }
    system.publish("users/u/devices/d/status", br#"{"online": true, "session_seq": 1}"#).await?;
    system.caught_up().await?;
    for user in ["", "&user_id=u", "&online=false"] {
        let mut page =
            Some(format!("/api/v1/devices?offline_since=2100-01-01T00:00:00Z&limit=2{user}"));
        let mut seen = Vec::new();
        while let Some(path) = page {
            let response = operator.get(&path).send().await?.error_for_status()?;
            let link = response.headers().get("link").map(|link| link.to_str()).transpose()?;
            page =
                link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
            seen.extend(ids(&response.json().await?, "device_id"));
        }
        assert_eq!(seen, ["b", "a", "c"], "{user}");
    }
    let first = operator.json("/api/v1/users/u/devices/c").await?;
    let since = first["online_since"].as_str().context("a time")?;
    let devices = operator.json(&format!("/api/v1/devices?offline_since={since}")).await?;
    assert_eq!(ids(&devices, "device_id"), ["c"]);
    let listed = system.run(&["device", "list", "--silent-since", "yesterday", "--json"]).await?;
    assert_eq!(listed.trim(), "[]");
    let listed = system.run(&["devices", "list", "--offline-since", "now"]).await?;
    assert_eq!(listed.lines().count(), 4, "{listed}");
    Ok(())
}

#[tokio::test]
async fn page_views_are_summarized_on_the_command_line_and_as_csv() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let views = ["/a", "/a,\"b\"", "/a"].map(|path| json!({"path": path, "session_id": "s"}));
    system.post("/api/v1/page-views", &json!(views)).send().await?.error_for_status()?;
    system.caught_up().await?;
    let csv = system.run(&["page-views", "stats", "--from", "1 hour ago", "-o", "csv"]).await?;
    assert_eq!(csv, "path,views,unique_sessions\r\n/a,2,1\r\n\"/a,\"\"b\"\"\",1,1\r\n");
    let table = system.run(&["page-views", "stats", "--bucket", "1h", "--path", "/a"]).await?;
    assert!(table.starts_with("TIME") && table.lines().count() == 2, "{table}");
    Ok(())
}
