//! Conditional requests: `If-None-Match` on every GET, and `If-Match` with lists and weak tags.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tests::{Caller, System};
use uuid::Uuid;

use crate::authorization::World;
use crate::openapi::operations;
use crate::orders::product;

fn tag(response: &Response) -> Result<String> {
    let tag = response.headers().get("etag").context("there is no ETag")?;
    Ok(tag.to_str()?.to_owned())
}

/// Reads `path`, and reads it again with the tag of the first response.
async fn check(world: &World, path: &str) -> Result<()> {
    let caller = world.of("admin");
    let first = caller.get(path).send().await?;
    ensure!(first.status() == 200, "{}", first.status());
    let vary: Vec<_> = first.headers().get_all("vary").iter().collect();
    ensure!(vary.iter().any(|value| *value == "authorization"), "Vary: {vary:?}");
    let known = tag(&first)?;
    ensure!(known.starts_with('"'), "{known} is weak");
    let again = caller.get(path).header("If-None-Match", format!("\"other\", W/{known}"));
    let again = again.send().await?;
    let same = tag(&again)? == known;
    // What a list shows may have changed in between.
    ensure!(!same || again.status() == 304, "{} with the tag {known}", again.status());
    ensure!(!again.headers().contains_key("content-type") || !same, "a type without a body");
    ensure!(!same || again.bytes().await?.is_empty(), "304 with a body");
    let any = caller.get(path).header("If-None-Match", "*").send().await?;
    ensure!(any.status() == 304, "{} with *", any.status());
    let other = caller.get(path).header("If-None-Match", "\"other\"").send().await?;
    ensure!(other.status() == 200, "{} with another tag", other.status());
    Ok(())
}

#[tokio::test]
async fn every_get_that_declares_an_etag_answers_304_to_it() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let document = system.json("/openapi.json").await?;
    system.skip_end_check(); // A stream of a consumer that no process runs is parked.
    let world = World::new(system).await?;
    let (mut wrong, mut checked) = (BTreeMap::new(), 0);
    for operation in operations(&document)? {
        if operation.method != Method::GET {
            continue;
        }
        let (name, responses) = (operation.name(), &operation.described["responses"]);
        let success = &responses["200"];
        let json = success["content"]["application/json"].is_object();
        if !json || success["headers"]["ETag"].is_null() {
            continue; // An event stream, or metrics.
        }
        ensure!(!responses["304"].is_null(), "{name} does not declare 304");
        checked += 1;
        let path = world.fill(&name, &operation.template).await?;
        if let Err(error) = check(&world, &path).await {
            wrong.insert(path, format!("{error:#}"));
        }
    }
    ensure!(wrong.is_empty() && checked > 30, "{checked} checked, {wrong:#?}");
    Ok(())
}

async fn status(caller: &Caller, path: &str, if_match: &str) -> Result<u16> {
    let body = json!({"name": Uuid::now_v7()});
    let request = caller.request(Method::PATCH, path).json(&body).header("If-Match", if_match);
    Ok(request.send().await?.status().as_u16())
}

#[tokio::test]
async fn a_product_is_changed_only_as_it_was_shown_with_its_stock() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let clerk = system.caller(&system.token);
    let new = json!({"sku": "HAT", "name": "Hat", "price": "9.90", "currency": "EUR"});
    let added = clerk.post("/api/v1/products", &new).header("Prefer", "wait=20").send().await?;
    let path = added.headers()["location"].to_str()?.to_owned();
    let show = async || -> Result<String> { tag(&clerk.get(&path).send().await?) };
    assert_eq!(tag(&added)?, show().await?);

    let stock = format!("{path}/stock");
    let receive = |if_match: &str| {
        let body = json!({"quantity": 5, "reason": "delivery"});
        let request = clerk.post(&stock, &body).header("Prefer", "wait=20");
        request.header("If-Match", if_match).header("Idempotency-Key", if_match)
    };
    let before = show().await?;
    let received = receive(&before).send().await?;
    assert_eq!((received.status().as_u16(), tag(&received)?), (204, show().await?));
    let repeated = receive(&before).send().await?;
    assert_eq!((repeated.status().as_u16(), tag(&repeated)?), (204, show().await?));
    assert_eq!(repeated.headers()["idempotency-replayed"], "true");

    // The stock moved: both commands on what was shown before are refused.
    assert_eq!(status(&clerk, &path, &before).await?, 412);
    let late = clerk.post(&stock, &json!({"quantity": 1, "reason": "r"}));
    assert_eq!(late.header("If-Match", &before).send().await?.status(), 412);

    let now = show().await?;
    for (if_match, expected) in [
        (format!("W/{now}"), 412),
        ("\"other\"".into(), 412),
        (format!("{before}, \"a,b\""), 412),
        (now.trim_matches('"').into(), 422),
        (format!("{before}, {now}"), 204),
        // The product changed: now its own tag is another one.
        (now.clone(), 412),
        ("*".into(), 204),
    ] {
        assert_eq!(status(&clerk, &path, &if_match).await?, expected, "{if_match}");
    }
    // The tag of a command without a condition is that of what it left.
    let renamed = clerk.request(Method::PATCH, &path).json(&json!({"name": "Cap"}));
    let renamed = renamed.header("Prefer", "wait=20").send().await?;
    assert_eq!(tag(&renamed)?, show().await?);
    Ok(())
}

#[tokio::test]
async fn the_tag_of_an_order_covers_its_history() -> Result<()> {
    let system = System::start().await?;
    let _front = system.serve(&["http", "projector"]).await?;
    let operator = system.caller(&system.token);
    let hat = product(&operator, "HAT", "9.90", 5).await?;
    let cart = json!({"items": [{"product_id": hat, "quantity": 1}]});
    let placed = operator.post("/api/v1/orders", &cart).header("Prefer", "wait=20").send().await?;
    let path = placed.headers()["location"].to_str()?.to_owned();
    let first = tag(&placed)?;
    assert_eq!(tag(&operator.get(&path).send().await?)?, first);

    let _worker = system.serve(&["worker"]).await?;
    crate::orders::until(&operator, &path, "confirmed").await?;
    let shown = operator.get(&path).header("If-None-Match", &first).send().await?;
    assert_eq!(shown.status(), 200, "the order and its history have changed");
    let cancel = |if_match: String| {
        let request = operator.post(&format!("{path}/cancel"), &Value::Null);
        request.header("If-Match", if_match).send()
    };
    assert_eq!(cancel(first).await?.status(), 412);
    assert_eq!(cancel(tag(&shown)?).await?.status(), 204);
    Ok(())
}
