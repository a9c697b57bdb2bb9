//! Orders and stock: no piece is sold twice or lost, whatever is killed meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Caller, System, eventually};
use uuid::Uuid;

use crate::parked::inject;

/// Adds a product with `stock` pieces. Returns its id.
pub(crate) async fn product(
    operator: &Caller,
    sku: &str,
    price: &str,
    stock: i64,
) -> Result<String> {
    let body = json!({"sku": sku, "name": sku, "price": price, "currency": "EUR"});
    let product = operator.command(Method::POST, "/api/v1/products", &body).await?;
    let id = product["id"].as_str().context("an id")?.to_owned();
    if stock > 0 {
        let path = format!("/api/v1/products/{id}/stock");
        let body = json!({"quantity": stock, "reason": "delivery"});
        operator.command(Method::POST, &path, &body).await?;
    }
    Ok(id)
}

pub(crate) fn cart(lines: &[(&str, u32)]) -> Value {
    let items = lines.iter().map(|(id, n)| json!({"product_id": id, "quantity": n}));
    json!({"items": items.collect::<Vec<_>>()})
}

pub(crate) async fn place(customer: &Caller, lines: &[(&str, u32)]) -> Result<String> {
    let answer = customer.post("/api/v1/orders", &cart(lines)).send().await?;
    ensure!(answer.status() == 202, "{}", answer.text().await?);
    let location = answer.headers()["location"].to_str()?.to_owned();
    Ok(location)
}

/// Waits until the order has this status.
pub(crate) async fn until(caller: &Caller, order: &str, status: &str) -> Result<Value> {
    eventually(&format!("{order} is {status}"), async || {
        Ok(caller.json(order).await.is_ok_and(|order| order["status"] == status))
    })
    .await?;
    caller.json(order).await
}

pub(crate) async fn customer(system: &System) -> Result<Caller> {
    Ok(system.caller(system.token_for(&Uuid::now_v7().to_string(), "user").await?))
}

/// Folds the log and checks at every position that no piece is lost or sold twice, and at the end
/// that nothing is reserved for a closed order.
async fn stock_is_conserved(system: &System) -> Result<()> {
    #[derive(Default)]
    struct Stock {
        received: i64,
        available: i64,
        shipped: i64,
        reserved: HashMap<String, i64>,
    }
    let rows: Vec<(i64, String, String, String)> = sqlx::query_as(
        "select position, stream_id, event_type, data::text from log.event order by position",
    )
    .fetch_all(&system.admin)
    .await?;
    let mut stocks: BTreeMap<String, Stock> = BTreeMap::new();
    let (mut placed, mut over) = (HashSet::new(), HashSet::new());
    for (position, stream, event_type, data) in rows {
        let data: Value = serde_json::from_str(&data)?;
        let (category, key) = stream.split_once('-').context("a stream")?;
        if category == "order" {
            placed.insert(key.to_owned());
            if ["order_cancelled", "order_shipped"].contains(&event_type.as_str()) {
                over.insert(key.to_owned());
            }
        }
        if category != "stock" {
            continue;
        }
        let stock = stocks.entry(key.to_owned()).or_default();
        let quantity = data["quantity"].as_i64().context("a quantity")?;
        let order = data["order_id"].as_str().unwrap_or_default().to_owned();
        match event_type.as_str() {
            "stock_received" => {
                stock.received += quantity;
                stock.available += quantity;
            }
            "stock_corrected" => {
                stock.received -= quantity;
                stock.available -= quantity;
            }
            "stock_reserved" => {
                ensure!(
                    placed.contains(&order),
                    "{position}: reserved for an order that was not placed"
                );
                stock.available -= quantity;
                let before = stock.reserved.insert(order, quantity);
                ensure!(before.is_none(), "{position}: reserved twice");
            }
            "stock_released" => {
                ensure!(stock.reserved.remove(&order) == Some(quantity), "{position}: released");
                stock.available += quantity;
            }
            "stock_shipped" => {
                ensure!(stock.reserved.remove(&order) == Some(quantity), "{position}: shipped");
                stock.shipped += quantity;
            }
            _ => {}
        }
        let reserved: i64 = stock.reserved.values().sum();
        ensure!(stock.available >= 0, "{position}: {} available", stock.available);
        ensure!(stock.received == stock.available + reserved + stock.shipped, "at {position}");
    }
    for stock in stocks.values() {
        let left = stock.reserved.keys().find(|order| over.contains(*order));
        ensure!(left.is_none(), "reserved for {left:?}, which is over");
    }
    Ok(())
}

#[tokio::test]
async fn two_hundred_orders_for_fifty_pieces_confirm_fifty() -> Result<()> {
    const ORDERS: usize = 200;
    const STOCK: usize = 50;
    let system = System::start().await?;
    let _back = system.serve(&["projector", "relay"]).await?;
    let _first = system.serve(&["http"]).await?;
    let mut second = system.serve_with(&["http"], &[("PORT", "0")]).await?;
    let other = format!("http://127.0.0.1:{}", second.http_port().await?);
    let mut worker = system.serve(&["worker"]).await?;
    let operator = system.caller(&system.token);
    let product = product(&operator, "SCARCE", "1.00", i64::try_from(STOCK)?).await?;

    let customer = customer(&system).await?;
    let elsewhere = customer.at(&other);
    let lines = [(product.as_str(), 1)];
    let orders = try_join_all(
        (0..ORDERS).map(|n| place(if n % 2 == 0 { &customer } else { &elsewhere }, &lines)),
    );
    // The worker is killed twice, while some orders are decided and others are not.
    let killing = async {
        for decided in [20, 90] {
            eventually("some orders are decided", async || {
                let sql = "select count(*) from log.event
                           where event_type in ('order_confirmed', 'order_cancelled')";
                Ok(system.number(sql).await? >= decided)
            })
            .await?;
            worker = system.serve_after_kill(&["worker"], &mut worker).await?;
        }
        anyhow::Ok(())
    };
    let (orders, killed) = tokio::join!(orders, killing);
    killed?;
    assert_eq!(orders?.len(), ORDERS);
    eventually("all orders are decided", async || {
        let sql = "select count(*) from order_list.purchase where status <> 'pending'";
        Ok(system.number(sql).await? == i64::try_from(ORDERS)?)
    })
    .await?;
    system.caught_up().await?;
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    let all = customer.json("/api/v1/orders?limit=500").await?;
    for order in all["items"].as_array().context("a list")? {
        let status = order["status"].as_str().unwrap_or_default();
        *statuses.entry(status.to_owned()).or_default() += 1;
        let reason = if status == "cancelled" { json!("out_of_stock") } else { Value::Null };
        assert_eq!(order["reason"], reason);
    }
    let expected = [("cancelled".to_owned(), ORDERS - STOCK), ("confirmed".to_owned(), STOCK)];
    assert_eq!(statuses, BTreeMap::from(expected));
    let shown = customer.json(&format!("/api/v1/products/{product}")).await?;
    assert_eq!(shown["stock"], json!({"available": 0, "reserved": STOCK, "shipped": 0}));
    stock_is_conserved(&system).await?;
    Ok(())
}

#[tokio::test]
async fn an_order_whose_last_line_is_short_releases_the_others() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT", "9.90", 5).await?;
    let shoe = product(&operator, "SHOE", "50.00", 5).await?;
    let scarf = product(&operator, "SCARF", "20.00", 1).await?;
    let customer = customer(&system).await?;
    let order = place(&customer, &[(&hat, 2), (&shoe, 1), (&scarf, 2)]).await?;
    let shown = until(&customer, &order, "cancelled").await?;
    assert_eq!((&shown["reason"], &shown["total"]), (&json!("out_of_stock"), &json!("109.80")));
    eventually("both are released", async || {
        let sql = "select count(*) from order_list.history where event = 'stock_released'";
        Ok(system.number(sql).await? == 2)
    })
    .await?;
    let shown = customer.json(&order).await?;
    let history: Vec<_> = shown["history"]
        .as_array()
        .context("a history")?
        .iter()
        .map(|entry| (entry["event"].as_str(), entry["product_id"].as_str()))
        .collect();
    assert_eq!(
        history,
        [
            (Some("placed"), None),
            (Some("stock_reserved"), Some(&*hat)),
            (Some("stock_reserved"), Some(&*shoe)),
            (Some("stock_refused"), Some(&*scarf)),
            (Some("cancelled"), None),
            (Some("stock_released"), Some(&*hat)),
            (Some("stock_released"), Some(&*shoe)),
        ]
    );
    system.caught_up().await?;
    for (id, available) in [(&hat, 5), (&shoe, 5), (&scarf, 1)] {
        let shown = customer.json(&format!("/api/v1/products/{id}")).await?;
        assert_eq!(shown["stock"]["available"], available);
    }
    stock_is_conserved(&system).await?;
    Ok(())
}

#[tokio::test]
async fn a_confirmed_order_is_shipped_or_cancelled_and_not_both() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT", "9.90", 10).await?;
    let customer = customer(&system).await?;
    let (kept, returned) =
        (place(&customer, &[(&hat, 3)]).await?, place(&customer, &[(&hat, 4)]).await?);
    until(&customer, &kept, "confirmed").await?;
    until(&customer, &returned, "confirmed").await?;
    // An order keeps the price at the time of its placement.
    let change = json!({"price": "19.90"});
    operator.command(Method::PATCH, &format!("/api/v1/products/{hat}"), &change).await?;
    assert_eq!(customer.json(&kept).await?["total"], "29.70");

    let act = async |caller: &Caller, order: &str, what: &str| -> Result<u16> {
        let answer = caller.post(&format!("{order}/{what}"), &json!({})).send().await?;
        Ok(answer.status().as_u16())
    };
    assert_eq!(act(&customer, &kept, "ship").await?, 403);
    assert_eq!(act(&operator, &kept, "ship").await?, 204);
    assert_eq!(act(&operator, &kept, "ship").await?, 204, "shipping twice is harmless");
    assert_eq!(act(&customer, &kept, "cancel").await?, 409);
    assert_eq!(act(&customer, &returned, "cancel").await?, 204);
    assert_eq!(act(&operator, &returned, "ship").await?, 409);
    eventually("the stock follows", async || {
        let shown = customer.json(&format!("/api/v1/products/{hat}")).await?;
        Ok(shown["stock"] == json!({"available": 7, "reserved": 0, "shipped": 3}))
    })
    .await?;
    stock_is_conserved(&system).await?;
    Ok(())
}

#[tokio::test]
async fn an_order_that_nobody_confirms_expires() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // The order stays parked.
    let _process = system.serve_with(&["http", "projector"], &[("ORDER_TTL", "100ms")]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT", "9.90", 10).await?;
    let order = place(&operator, &[(&hat, 3)]).await?;
    // No worker runs, so no process manager confirms this order.
    let id = order.rsplit('/').next().unwrap_or_default();
    sqlx::query("insert into log.parked values ('fulfilment', $1, 1, 3, 'by a test', true)")
        .bind(format!("order-{id}"))
        .execute(&system.admin)
        .await?;
    let _worker = system.serve(&["worker"]).await?;
    let shown = until(&operator, &order, "cancelled").await?;
    assert_eq!(shown["reason"], "expired");
    Ok(())
}

#[tokio::test]
async fn a_repeated_idempotency_key_returns_the_same_order() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT", "9.90", 10).await?;
    let send = async || -> Result<(u16, Value)> {
        let request = operator.post("/api/v1/orders", &cart(&[(&hat, 1)]));
        let answer = request.header("Idempotency-Key", "once").send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let both = tokio::join!(send(), send());
    let first = both.0?;
    assert_eq!((first.0, &first), (202, &both.1?));
    assert_eq!(send().await?, first);
    let sql = "select count(*) from log.event where event_type = 'order_placed'";
    assert_eq!(system.number(sql).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_price_has_the_minor_units_of_a_currency_that_there_is() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let clerk = system.caller(&system.token);
    let send = async |body: Value| -> Result<(u16, Value)> {
        let answer = clerk.post("/api/v1/products", &body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let with = |sku: &str, price: &str, currency: &str| json!({"sku": sku, "name": "Hat", "price": price, "currency": currency});
    for (body, status, pointer, detail) in [
        (
            with("A", "1234.99", "JPY"),
            422,
            "/price",
            "JPY has at most 0 digits after the point, not 2",
        ),
        (
            with("A", "1.2345", "BHD"),
            422,
            "/price",
            "BHD has at most 3 digits after the point, not 4",
        ),
        (with("A", "9.999", "EUR"), 422, "/price", "EUR has at most 2 digits"),
        (with("A", "9.90", "ZZZ"), 422, "/currency", "`ZZZ` is not a currency of ISO 4217"),
        (with("A", "9", "XXX"), 422, "/currency", "`XXX`"),
        (with("A", "9", "XAU"), 422, "/currency", "`XAU`"),
        (with("A", "9", "eur"), 422, "/currency", "three capital letters"),
        (with("..", "9", "EUR"), 422, "/sku", "not `.` or `..`"),
        (
            json!({"sku": "A", "name": "\u{200b}", "price": "9", "currency": "EUR"}),
            422,
            "/name",
            "visible",
        ),
    ] {
        let (answered, problem) = send(body.clone()).await?;
        assert_eq!(answered, status, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
        let shown = problem["errors"][0]["detail"].as_str().unwrap_or_default();
        assert!(shown.contains(detail), "{body}: {problem}");
    }
    for (sku, price, currency, wrong) in [
        ("J", "1235", "JPY", "1.5"),
        ("B", "1.234", "BHD", "1.2345"),
        ("C", "1.2345", "CLF", "1.23456"),
    ] {
        let (status, shown) = send(with(sku, price, currency)).await?;
        assert_eq!((status, &shown["price"]), (201, &json!(price)), "{shown}");
        let path = format!("/api/v1/products/{}", shown["id"].as_str().unwrap_or_default());
        let change = json!({"price": wrong});
        let answer = clerk.request(Method::PATCH, &path).json(&change).send().await?;
        assert_eq!(answer.status(), 422, "{currency}");
    }
    // What an earlier build recorded stays readable, and can be ordered.
    system.skip_end_check(); // The injected events are not in the hash chain.
    let (product, fine) = (Uuid::now_v7(), Uuid::now_v7());
    for (id, sku, currency, price) in
        [(product, "OLD", "ZZZ", "1.2345"), (fine, "YEN", "JPY", "9.99")]
    {
        let data = json!({"sku": sku, "name": "Old", "price": price, "currency": currency});
        inject(&system, &format!("product-{id}"), "product_added", &data.to_string()).await?;
        let order = json!({"items": [{"product_id": id, "quantity": 2}]});
        let shown = clerk.command(Method::POST, "/api/v1/orders", &order).await?;
        assert_eq!(shown["currency"], currency, "{shown}");
        system.caught_up().await?;
        let shown = clerk.json(&format!("/api/v1/products/{id}")).await?;
        assert_eq!((&shown["price"], &shown["currency"]), (&json!(price), &json!(currency)));
    }
    Ok(())
}

#[tokio::test]
async fn an_invalid_order_is_refused_with_pointers() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT", "9.90", 10).await?;
    let nothing = Uuid::now_v7().to_string();
    for (body, pointer) in [
        (json!({"items": []}), "/items"),
        (cart(&[(&hat, 0)]), "/items/0/quantity"),
        (cart(&[(&hat, 1), (&nothing, 1)]), "/items/1/product_id"),
        (cart(&[(&hat, 10_001)]), "/items/0/quantity"),
        // The limit is one on the pieces of a product, however many items they are written as.
        (cart(&[(&hat, 10_000), (&hat, 1)]), "/items/1/quantity"),
        (cart(&[(&hat, 4_000), (&hat, 4_000), (&hat, 4_000)]), "/items/2/quantity"),
    ] {
        let answer = operator.post("/api/v1/orders", &body).send().await?;
        assert_eq!(answer.status(), 422, "{body}");
        assert_eq!(answer.json::<Value>().await?["errors"][0]["pointer"], pointer, "{body}");
    }
    let twin = json!({"sku": "HAT", "name": "Hat", "price": "1", "currency": "EUR"});
    let answer = operator.post("/api/v1/products", &twin).send().await?;
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.json::<Value>().await?["code"], "sku_taken");
    let too_many = json!({"quantity": -11, "reason": "lost"});
    let path = format!("/api/v1/products/{hat}/stock");
    assert_eq!(operator.post(&path, &too_many).send().await?.status(), 409);
    let path = format!("/api/v1/products/{nothing}/stock");
    assert_eq!(operator.post(&path, &too_many).send().await?.status(), 404);
    // If-Match: the second change expects an outdated version.
    let path = format!("/api/v1/products/{hat}");
    let tag = operator.get(&path).send().await?.headers()["etag"].clone();
    let patch = async |price: &str| -> Result<u16> {
        let request = operator.request(Method::PATCH, &path).json(&json!({"price": price}));
        Ok(request.header("If-Match", &tag).send().await?.status().as_u16())
    };
    assert_eq!((patch("10").await?, patch("11").await?), (204, 412));
    Ok(())
}
