//! Orders of two customers, and a warehouse that ships them. Most are shipped; from time to time one
//! fails because a product is out of stock, or its customer cancels it.

use std::time::Duration;

use anyhow::Context;
use client::Client;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::people::Person;
use super::super::seed::{PRODUCTS, Product};
use super::{Demo, WAIT_SECONDS};

const PATH: &str = "/api/v1/orders";
/// Time between two orders.
const ORDER_EVERY: Duration = Duration::from_secs(6);
/// Time after which a customer cancels a confirmed order.
const DOUBT: Duration = Duration::from_secs(2);
/// Confirmed orders of a customer that are not shipped yet, at most.
const UNSHIPPED: usize = 1;
/// Most pieces of a line.
const MOST_PIECES: u32 = 3;
/// The warehouse is looked after once in so many orders.
const LOOK_AFTER: usize = 10;
/// Available pieces below which a product is delivered, and pieces of a delivery.
const LOW: u64 = 30;
const DELIVERY: u32 = 60;
/// How often an order is asked for until it is no longer pending, and the pause in between.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// What becomes of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Shipped,
    /// More pieces are ordered than there are: the order is cancelled, and what was reserved is
    /// released.
    OutOfStock,
    /// Its customer cancels it.
    Cancelled,
}

/// The stories, in turn.
const STORIES: [Story; 8] = {
    use Story::{Cancelled, OutOfStock, Shipped};
    [Shipped, OutOfStock, Shipped, Shipped, Cancelled, Shipped, Shipped, Shipped]
};

pub(super) async fn run(demo: &Demo) {
    let mut pace = demo.pace("orders", ORDER_EVERY);
    for number in 0_usize.. {
        pace.next().await;
        let customer = if number.is_multiple_of(2) { demo.people.ada } else { demo.people.grace };
        pace.note(order(demo, customer, STORIES[number % STORIES.len()]).await);
        if number % LOOK_AFTER == LOOK_AFTER - 1 {
            pace.note(look_after(demo).await);
        }
    }
}

/// Places an order, waits for its confirmation, and ships the one before.
async fn order(demo: &Demo, customer: Person, story: Story) -> anyhow::Result<()> {
    let api = demo.api(customer)?;
    let place = api.post(PATH).json(&json!({"items": items(story)})).wait(WAIT_SECONDS);
    let order: Value = place.once().send().await.context("cannot place an order")?.body;
    let path = format!("{PATH}/{}", order["id"].as_str().unwrap_or_default());
    let status = settled(&api, &path).await?;
    if story == Story::Cancelled && status == "confirmed" {
        sleep(demo.speed.of(DOUBT)).await;
        let cancel = api.post(&format!("{path}/cancel")).json(&json!({})).once();
        cancel.send::<Value>().await.context("cannot cancel an order")?;
    }
    ship(demo, &api).await
}

/// Returns two lines of random products. An order that fails has the rare product last, so that there is
/// a reservation to release.
fn items(story: Story) -> Vec<Value> {
    let [usual @ .., rare] = &PRODUCTS;
    let first = rand::random_range(0..usual.len());
    let second = (first + rand::random_range(1..usual.len())) % usual.len();
    let line =
        |product: &Product, quantity: u32| json!({"product_id": product.id, "quantity": quantity});
    let pieces = || rand::random_range(1..=MOST_PIECES);
    let last = match story {
        Story::OutOfStock => line(rare, 2),
        Story::Shipped | Story::Cancelled => line(&usual[second], pieces()),
    };
    vec![line(&usual[first], pieces()), last]
}

/// Returns the status of an order once it is not pending, or after a while.
async fn settled(api: &Client, path: &str) -> anyhow::Result<String> {
    let mut status = String::new();
    for _ in 0..LOOKS {
        let order: Value = api.get(path).send().await.context("cannot show an order")?.body;
        order["status"].as_str().unwrap_or_default().clone_into(&mut status);
        if status != "pending" {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(status)
}

/// Ships the oldest confirmed order of a customer, if there are more than [`UNSHIPPED`].
async fn ship(demo: &Demo, customer: &Client) -> anyhow::Result<()> {
    let confirmed = customer.get(PATH).query(&[("status", "confirmed")]);
    let page: Value = confirmed.send().await.context("cannot list orders")?.body;
    let orders = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(oldest) = orders.last().filter(|_| orders.len() > UNSHIPPED) else {
        return Ok(());
    };
    let path = format!("{PATH}/{}/ship", oldest["id"].as_str().unwrap_or_default());
    let warehouse = demo.api(demo.people.lin)?;
    let ship = warehouse.post(&path).json(&json!({})).wait(WAIT_SECONDS).once();
    ship.send::<Value>().await.context("cannot ship an order")?;
    Ok(())
}

/// Has products delivered that are running low, and writes off a broken piece of one. The rare one is
/// never delivered.
async fn look_after(demo: &Demo) -> anyhow::Result<()> {
    let warehouse = demo.api(demo.people.lin)?;
    let broken = rand::random_range(0..PRODUCTS.len() - 1);
    for (index, product) in PRODUCTS.iter().enumerate().take(PRODUCTS.len() - 1) {
        let path = format!("/api/v1/products/{}", product.id);
        let shown: Value = warehouse.get(&path).send().await.context("cannot show a product")?.body;
        let low = shown["stock"]["available"].as_u64().unwrap_or_default() < LOW;
        let change = match (low, index == broken) {
            (true, _) => json!({"quantity": DELIVERY, "reason": "delivery"}),
            (false, true) => json!({"quantity": -1, "reason": "broken"}),
            (false, false) => continue,
        };
        let change = warehouse.post(&format!("{path}/stock")).json(&change).once();
        change.send::<Value>().await.context("cannot change stock")?;
    }
    Ok(())
}
