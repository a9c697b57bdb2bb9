//! `tributary products`: list, show and add products, and receive their stock.

use serde_json::json;
use uuid::Uuid;

use super::outcome::Failure;
use super::rows::{Common, Listing};

const PATH: &str = "/api/v1/products";
/// Columns of the table.
const COLUMNS: [&str; 8] = [
    "id",
    "sku",
    "name",
    "price",
    "currency",
    "stock.available",
    "stock.reserved",
    "stock.shipped",
];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List products
    List(Listing),
    /// Show a product
    Show(Show),
    /// Add a product
    Add(Add),
    /// Receive stock of a product, or correct it
    Stock(Stock),
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Product id
    id: Uuid,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Stock-keeping unit: the product's unique code in the shop
    #[arg(long)]
    sku: String,
    /// Name of the product
    #[arg(long)]
    name: String,
    /// Unit price, decimal: 9.90
    #[arg(long)]
    price: String,
    /// Currency of the price (ISO 4217)
    #[arg(long, default_value = "EUR")]
    currency: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Stock {
    /// Product id
    id: Uuid,
    /// Number of units received; a negative number corrects the stock downwards
    #[arg(allow_negative_numbers = true)]
    quantity: i64,
    /// Reason, recorded with the change
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let path = |id: Uuid| format!("{PATH}/{id}");
    match command {
        Command::List(listing) => listing.show(PATH, &[], &COLUMNS).await,
        Command::Show(Show { id, common }) => common.show(&path(id), &COLUMNS).await,
        Command::Add(Add { sku, name, price, currency, common }) => {
            let body = json!({"sku": sku, "name": name, "price": price, "currency": currency});
            common.create(PATH, &body, &COLUMNS).await
        }
        Command::Stock(Stock { id, quantity, reason, common }) => {
            let body = json!({"quantity": quantity, "reason": reason});
            let stock = format!("{PATH}/{id}/stock");
            common.change(|client| client.post(&stock).json(&body), &path(id), &COLUMNS).await
        }
    }
}
