//! `tributary orders`: list, show, place, cancel and ship orders, and list stuck ones.

use std::str::FromStr;

use serde_json::{Value, json};
use uuid::Uuid;

use super::outcome::Failure;
use super::output::{self, OutputFormat};
use super::rows::{self, Common, Listing};

const PATH: &str = "/api/v1/orders";
const STUCK_PATH: &str = "/api/v1/stuck-orders";
/// Columns of the table of stuck orders.
const STUCK_COLUMNS: [&str; 5] = ["id", "status", "waits_for", "product_id", "updated_at"];
/// Columns of the table.
const COLUMNS: [&str; 7] = ["id", "status", "total", "currency", "items", "reason", "created_at"];
/// Columns of the table of an order's items.
const ITEMS: [&str; 5] = ["product_id", "sku", "name", "quantity", "price"];
/// Columns of the table of an order's history.
const HISTORY: [&str; 5] = ["at", "event", "product_id", "quantity", "available"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List orders
    List(List),
    /// List orders that do not go on, with what they wait for; requires the operator role
    Stuck(Listing),
    /// Show an order
    Show(One),
    /// Place an order
    Place(Place),
    /// Cancel an order
    Cancel(One),
    /// Ship an order; requires the operator role
    Ship(One),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// List only orders with this status: pending, confirmed, shipped or cancelled
    #[arg(long)]
    status: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Order id
    id: Uuid,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Product and number of units; repeat the option for further products
    #[arg(long = "item", value_name = "PRODUCT_ID=QUANTITY", required = true)]
    items: Vec<Item>,
    #[command(flatten)]
    common: Common,
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
#[error("an item is a product id, `=` and a quantity of 1 or more")]
struct InvalidItem;

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(List { status, listing }) => {
            listing.show(PATH, &[("status", status)], &COLUMNS).await
        }
        Command::Stuck(listing) => listing.show(STUCK_PATH, &[], &STUCK_COLUMNS).await,
        Command::Show(one) => show(one).await,
        Command::Place(Place { items, common }) => {
            common.create(PATH, &body(&items), &COLUMNS).await
        }
        Command::Cancel(args) => change(args, "cancel").await,
        Command::Ship(args) => change(args, "ship").await,
    }
}

/// Shows an order with its items and its history: a refusal of stock with what was wanted
/// (`quantity`) and what was available.
async fn show(One { id, common }: One) -> Result<(), Failure> {
    let order = common.get(&format!("{PATH}/{id}")).await?;
    let format = common.format;
    if format.selected() != OutputFormat::Table {
        return rows::show_one(order, &COLUMNS, format);
    }
    let (items, history) = (rows::items(&order, "items"), rows::items(&order, "history"));
    rows::show_all(std::slice::from_ref(&order), &COLUMNS, format)?;
    for (objects, columns) in [(items, &ITEMS), (history, &HISTORY)] {
        output::line("")?;
        rows::show_all(objects, columns, format)?;
    }
    Ok(())
}

async fn change(One { id, common }: One, action: &str) -> Result<(), Failure> {
    let path = format!("{PATH}/{id}");
    let command = format!("{path}/{action}");
    common.change(|client| client.post(&command).json(&json!({})), &path, &COLUMNS).await
}

fn body(items: &[Item]) -> Value {
    let items = items.iter().map(
        |Item { product_id, quantity }| json!({"product_id": product_id, "quantity": quantity}),
    );
    json!({"items": items.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn an_item_is_a_product_id_and_a_quantity() {
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
}
