//! `tributary orders`: place orders, look at them, cancel and ship them.

use std::str::FromStr;

use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Client;
use super::outcome::Failure;
use super::{output, rows};
use gateway::config::Server;

/// Where orders are.
const PATH: &str = "/api/v1/orders";
/// What a table shows of an order.
const COLUMNS: [&str; 5] = ["id", "status", "total", "items", "reason"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List orders
    List(List),
    /// Show one order
    Show(One),
    /// Place an order
    Place(Place),
    /// Cancel an order
    Cancel(One),
    /// Ship an order; for operators
    Ship(One),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only those of this status: pending, confirmed, shipped, cancelled
    #[arg(long)]
    status: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    id: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// A product and how many of it; once for each
    #[arg(long = "item", value_name = "PRODUCT_ID=QUANTITY", required = true)]
    items: Vec<Item>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// A line of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    product_id: Uuid,
    quantity: u32,
}

impl FromStr for Item {
    type Err = InvalidItem;

    fn from_str(text: &str) -> Result<Self, InvalidItem> {
        let (product_id, quantity) = text.split_once('=').ok_or(InvalidItem)?;
        let product_id = product_id.parse().map_err(|_not_an_id| InvalidItem)?;
        let quantity = quantity.parse().ok().filter(|quantity| *quantity > 0);
        Ok(Self { product_id, quantity: quantity.ok_or(InvalidItem)? })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an item is the id of a product, `=` and how many: one or more")]
struct InvalidItem;

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => {
            let query = [("status", args.status), ("limit", Some(args.limit.to_string()))];
            let orders = Client::new(args.server)?.list(PATH, &query).await?;
            show(orders, args.json)
        }
        Command::Show(args) => {
            let order = Client::new(args.server)?.get(&format!("{PATH}/{}", args.id), &()).await?;
            show_one(order, args.json)
        }
        Command::Place(args) => {
            let order = Client::new(args.server)?.post(PATH, &body(&args.items)).await?;
            show_one(order, args.json)
        }
        Command::Cancel(args) => change(args, "cancel").await,
        Command::Ship(args) => change(args, "ship").await,
    }
}

/// Asks for the change, and shows the order after it.
async fn change(args: One, what: &str) -> Result<(), Failure> {
    let client = Client::new(args.server)?;
    let path = format!("{PATH}/{}", args.id);
    client.post(&format!("{path}/{what}"), &json!({})).await?;
    show_one(client.get(&path, &()).await?, args.json)
}

fn body(items: &[Item]) -> Value {
    let items = items.iter().map(
        |Item { product_id, quantity }| json!({"product_id": product_id, "quantity": quantity}),
    );
    json!({"items": items.collect::<Vec<_>>()})
}

fn show_one(order: Value, json: bool) -> Result<(), Failure> {
    if json { output::json(&order) } else { show(vec![order], false) }
}

fn show(orders: Vec<Value>, json: bool) -> Result<(), Failure> {
    let orders = if json { orders } else { orders.into_iter().map(counted).collect() };
    rows::show(&orders, &COLUMNS, json)
}

/// An order with the number of its items in their place, for a table.
fn counted(mut order: Value) -> Value {
    if let Some(items) = order["items"].as_array().map(Vec::len) {
        order["items"] = items.into();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn items_are_read_as_they_are_written() {
        let item: Item = format!("{PRODUCT}=3").parse().unwrap();
        let expected = json!({"items": [{"product_id": PRODUCT, "quantity": 3}]});
        assert_eq!(body(&[item]), expected);
        for text in ["", "=", "3", PRODUCT, "x=3", &format!("{PRODUCT}=0")] {
            assert_eq!(text.parse::<Item>(), Err(InvalidItem), "{text}");
        }
        for quantity in ["", "-1", "1.5", "4294967296"] {
            assert!(format!("{PRODUCT}={quantity}").parse::<Item>().is_err(), "{quantity}");
        }
    }

    #[test]
    fn a_table_counts_the_items() {
        assert_eq!(counted(json!({"items": [{}, {}], "status": "pending"}))["items"], 2);
        assert_eq!(counted(json!({"status": "pending"})), json!({"status": "pending"}));
    }
}
