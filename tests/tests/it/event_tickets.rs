//! Event streams in browsers: tickets in place of a header, messages without a type, the events of a
//! customer's own orders, and positions that the log does not have.

use anyhow::{Context, Result};
use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::{Caller, DEADLINE, System, eventually};
use tokio::time::timeout;
use uuid::Uuid;

use crate::orders::{cart, product};

const STREAM: &str = "/api/v1/events/stream";
const TICKETS: &str = "/api/v1/events/tickets";

async fn ticket(caller: &Caller) -> Result<String> {
    let issued = caller.command(Method::POST, TICKETS, &Value::Null).await?;
    Ok(issued["ticket"].as_str().context("a ticket")?.to_owned())
}

/// Opens the event stream as `EventSource` does: without a header.
async fn open(system: &System, query: &str) -> Result<Response> {
    Ok(system.http.get(format!("{}{STREAM}?{query}", system.url())).send().await?)
}

/// Reads a stream until an event satisfies `last`. Returns type (`message` if there is none) and data of
/// each event.
async fn read(answer: Response, last: impl Fn(&Value) -> bool) -> Result<Vec<(String, Value)>> {
    let answer = answer.error_for_status()?;
    let (mut bytes, mut text, mut events) = (answer.bytes_stream(), String::new(), Vec::new());
    timeout(DEADLINE, async {
        loop {
            text.push_str(&String::from_utf8_lossy(&bytes.next().await.context("no end")??));
            while let Some((event, rest)) = text.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                if let Some(data) = field("data: ") {
                    let data: Value = serde_json::from_str(&data)?;
                    events.push((field("event: ").unwrap_or_else(|| "message".into()), data));
                }
                text = String::from(rest);
                if events.last().is_some_and(|(_, data)| last(data)) {
                    return Ok(events);
                }
            }
        }
    })
    .await?
}

#[tokio::test]
async fn a_ticket_opens_one_stream_once_and_nothing_else() -> Result<()> {
    let system = System::start().await?;
    let process = system.serve_with(&["http"], &[("TRIBUTARY_LOG", "trace")]).await?;
    let options = [("PORT", "0"), ("EVENT_TICKET_TTL", "1s")];
    let mut other = system.serve_with(&["http"], &options).await?;
    let other = format!("http://127.0.0.1:{}", other.http_port().await?);
    let operator = system.caller(&system.token);
    let issued = operator.post(TICKETS, &Value::Null).send().await?.error_for_status()?;
    assert_eq!(issued.headers()["cache-control"], "no-store");
    let issued: Value = issued.json().await?;
    assert_eq!((&issued["expires_in"], &issued["epoch"]), (&json!(30), &json!(1)), "{issued}");
    let first = issued["ticket"].as_str().context("a ticket")?;

    // Used at two processes at once, one stream opens.
    let elsewhere = format!("{other}{STREAM}?ticket={first}");
    let query = format!("ticket={first}");
    let (here, there) = tokio::join!(open(&system, &query), system.http.get(elsewhere).send());
    let mut statuses = [here?.status().as_u16(), there?.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);

    // An attacker has a used ticket, an access token, a forged or changed ticket, and a ticket elsewhere.
    let fresh = ticket(&operator).await?;
    let (begin, end) = fresh.split_at(fresh.len() / 2);
    let changed = format!("{begin}{}{}", if end.starts_with('A') { 'B' } else { 'A' }, &end[1..]);
    for wrong in [first, &system.token, "", "x.y.z", changed.as_str()] {
        let answer = open(&system, &format!("ticket={wrong}")).await?;
        assert_eq!(answer.status(), 401, "{wrong}");
        assert!(answer.headers().contains_key("www-authenticate"));
        let problem = answer.text().await?;
        assert!(wrong.is_empty() || !problem.contains(wrong), "{problem}");
    }
    for (method, path) in
        [(Method::GET, "/api/v1/events"), (Method::GET, "/api/v1/works"), (Method::POST, TICKETS)]
    {
        let bearer = system.caller(&fresh).request(method.clone(), path).send().await?;
        assert_eq!(bearer.status(), 401, "a ticket is no token: {path}");
        let url = format!("{}{path}?ticket={fresh}", system.url());
        let query = system.http.request(method, url).send().await?;
        assert_eq!(query.status(), 401, "tickets are for the stream only: {path}");
    }
    assert_eq!(open(&system, &format!("ticket={fresh}")).await?.status(), 200, "it is not used up");

    // Nor does a ticket outlive its time.
    let late = ticket(&operator.at(&other)).await?;
    eventually("the ticket has expired", async || expired(&late)).await?;
    assert_eq!(open(&system, &format!("ticket={late}")).await?.status(), 401);
    let log = process.log();
    assert!(log.contains("ticket refused"), "the log is detailed");
    for secret in [first, &fresh, &late] {
        assert!(!log.contains(secret), "a ticket is in the log");
    }
    Ok(())
}

/// Whether the time of a ticket is over, by its claims.
fn expired(ticket: &str) -> Result<bool> {
    use base64::Engine;
    let claims = ticket.split('.').nth(1).context("claims")?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims)?;
    let claims: Value = serde_json::from_slice(&claims)?;
    Ok(claims["exp"].as_i64().context("an end")? <= chrono::Utc::now().timestamp())
}

#[tokio::test]
async fn tickets_are_limited_by_role_and_rate() -> Result<()> {
    let system = System::start().await?;
    let options = [("EVENT_TICKET_ROLE", "operator"), ("RATE_LIMIT_EVENT_TICKETS", "3")];
    let _process = system.serve_with(&["http"], &options).await?;
    let user = system.caller(system.token_for(&Uuid::now_v7().to_string(), "user").await?);
    assert_eq!(user.post(TICKETS, &Value::Null).send().await?.status(), 403);
    let operator = system.caller(&system.token);
    for status in [200, 200, 200, 429] {
        let answer = operator.post(TICKETS, &Value::Null).send().await?;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key("retry-after"), status == 429);
    }
    Ok(())
}

#[tokio::test]
async fn a_customer_receives_the_events_of_own_orders_as_messages() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "worker", "projector"]).await?;
    let clerk = system.caller(&system.token);
    let hat = product(&clerk, "HAT", "9.90", 10).await?;
    let user = async || -> Result<Caller> {
        Ok(system.caller(system.token_for(&Uuid::now_v7().to_string(), "user").await?))
    };
    let (ada, ben) = (user().await?, user().await?);
    let place = async |caller: &Caller, pieces: u32| -> Result<String> {
        let order =
            caller.command(Method::POST, "/api/v1/orders", &cart(&[(&hat, pieces)])).await?;
        Ok(order["id"].as_str().context("an id")?.to_owned())
    };
    // One order before the stream begins, whose placement it does not see, and one after it.
    let early = place(&ada, 2).await?;
    eventually("it is confirmed", async || {
        Ok(ada.json(&format!("/api/v1/orders/{early}")).await?["status"] == "confirmed")
    })
    .await?;
    let (mine, after) = (ticket(&ada).await?, system.head().await?);
    let stream = open(&system, &format!("ticket={mine}&events=message&after={after}")).await?;
    assert_eq!(stream.headers()["tributary-epoch"], "1");
    let foreign = place(&ben, 1).await?;
    let cancelled =
        clerk.post(&format!("/api/v1/orders/{early}/cancel"), &Value::Null).send().await?;
    assert_eq!(cancelled.status(), 204);
    let late = place(&ada, 20).await?;
    let events = read(stream, |event| {
        event["type"] == "order_cancelled" && event["stream_id"] == format!("order-{late}")
    })
    .await?;
    let seen: Vec<_> = events
        .iter()
        .map(|(kind, event)| {
            assert_eq!(kind, "message");
            let order =
                event["stream_id"].as_str().unwrap_or_default().trim_start_matches("order-");
            (order.to_owned(), event["type"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let event = |order: &str, kind: &str| (order.to_owned(), kind.to_owned());
    let expected = [
        event(&early, "order_cancelled"),
        event(&late, "order_placed"),
        event(&late, "order_cancelled"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(events[0].1["metadata"], json!({}), "the clerk is not named");
    // The reason has the shape that the API shows.
    let reason = |order: &str| {
        let event =
            events.iter().rev().find(|(_, event)| event["stream_id"] == format!("order-{order}"));
        event.map(|(_, event)| event["data"]["reason"].clone()).unwrap_or_default()
    };
    for (order, code) in [(&early, "requested"), (&late, "out_of_stock")] {
        assert_eq!(reason(order), code);
        eventually("the API shows the same", async || {
            Ok(ada.json(&format!("/api/v1/orders/{order}")).await?["reason"] == code)
        })
        .await?;
    }

    // By default, an event has its type; what is not hers is refused.
    let own = format!("after=0&stream=order-{late}");
    let events = read(ada.get(&format!("{STREAM}?{own}")).send().await?, |event| {
        event["type"] == "order_cancelled"
    });
    let types: Vec<_> = events.await?.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(types, ["order_placed", "order_cancelled"]);
    for (query, status) in [
        (format!("stream=order-{foreign}"), 404),
        (format!("stream=order-{}", Uuid::now_v7()), 404),
        (format!("stream=product-{hat}"), 404),
        ("context=works".to_owned(), 403),
        ("context=users,orders".to_owned(), 200),
        ("events=colour".to_owned(), 422),
    ] {
        let answer = ada.get(&format!("{STREAM}?after=0&{query}")).send().await?;
        assert_eq!(answer.status(), status, "{query}");
    }
    let program = system.caller(system.token_for("reporter", "user").await?);
    assert_eq!(program.get(STREAM).send().await?.status(), 403);
    Ok(())
}

#[tokio::test]
async fn a_position_beyond_the_log_or_of_another_epoch_is_refused() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http"]).await?;
    system.post("/api/v1/works", &json!({})).send().await?.error_for_status()?;
    let head = system.head().await?;
    let get = |path: &str| system.get(path);
    for (request, status) in [
        (get(STREAM).header("Last-Event-ID", head.to_string()), 200),
        (get(STREAM).header("Last-Event-ID", (head + 1).to_string()), 422),
        (get(&format!("{STREAM}?after={}", head + 1)), 422),
        (get(&format!("{STREAM}?epoch=1")), 200),
        (get(&format!("{STREAM}?epoch=2")), 409),
        (get(&format!("/api/v1/events?after={head}&epoch=1")), 200),
        (get(&format!("/api/v1/events?after={}", head + 1)), 422),
        (get("/api/v1/events?epoch=0"), 409),
    ] {
        let answer = request.send().await?;
        assert_eq!(answer.status(), status, "{}", answer.url());
        if status == 200 {
            assert_eq!(answer.headers()["tributary-epoch"], "1");
        } else {
            let problem: Value = answer.json().await?;
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("restored from a backup"), "{problem}");
            assert!(detail.contains("epoch"), "{problem}");
        }
    }
    // A restored log has another epoch.
    sqlx::query("update log.head set epoch = epoch + 1").execute(&system.admin).await?;
    let answer = get(&format!("{STREAM}?after={head}&epoch=1")).send().await?;
    assert_eq!(
        (answer.status().as_u16(), &answer.json::<Value>().await?["epoch"]),
        (409, &json!(2))
    );
    Ok(())
}
