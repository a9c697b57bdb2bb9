//! `tributary products`: what the shop has, and how much of it.

use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Client;
use super::outcome::Failure;
use super::{output, rows};
use gateway::config::Server;

/// Where products are.
const PATH: &str = "/api/v1/products";
/// What a table shows of a product.
const COLUMNS: [&str; 8] =
    ["id", "sku", "name", "price", "currency", "available", "reserved", "shipped"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List products
    List(List),
    /// Show one product
    Show(Show),
    /// Add a product
    Add(Add),
    /// Receive stock of a product, or correct it
    Stock(Stock),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
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
pub(super) struct Show {
    id: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Its code in the shop
    #[arg(long)]
    sku: String,
    #[arg(long)]
    name: String,
    /// Price of one, with a decimal point: 9.90
    #[arg(long)]
    price: String,
    /// What it is paid in
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Stock {
    id: Uuid,
    /// How many came in; below zero corrects what was not there
    #[arg(allow_negative_numbers = true)]
    quantity: i64,
    /// Why, for those who look later
    #[arg(long)]
    reason: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => {
            let query = [("limit", Some(args.limit.to_string()))];
            let products = Client::new(args.server)?.list(PATH, &query).await?;
            show(products, args.json)
        }
        Command::Show(args) => {
            let product =
                Client::new(args.server)?.get(&format!("{PATH}/{}", args.id), &()).await?;
            show_one(product, args.json)
        }
        Command::Add(args) => {
            let Add { sku, name, price, currency, json, server } = args;
            let body = json!({"sku": sku, "name": name, "price": price, "currency": currency});
            let product = Client::new(server)?.post(PATH, &body).await?;
            show_one(product, json)
        }
        Command::Stock(args) => {
            let client = Client::new(args.server)?;
            let path = format!("{PATH}/{}", args.id);
            let body = json!({"quantity": args.quantity, "reason": args.reason});
            client.post(&format!("{path}/stock"), &body).await?;
            show_one(client.get(&path, &()).await?, args.json)
        }
    }
}

fn show_one(product: Value, json: bool) -> Result<(), Failure> {
    if json { output::json(&product) } else { show(vec![product], false) }
}

fn show(products: Vec<Value>, json: bool) -> Result<(), Failure> {
    let products = if json { products } else { products.into_iter().map(flat).collect() };
    rows::show(&products, &COLUMNS, json)
}

/// A product with the members of its stock beside its own, for a table.
fn flat(mut product: Value) -> Value {
    let stock = product.get_mut("stock").map(Value::take);
    if let (Value::Object(product), Some(Value::Object(stock))) = (&mut product, stock) {
        product.extend(stock);
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_the_stock() {
        let product = json!({"id": 1, "stock": {"available": 3, "reserved": 1, "shipped": 0}});
        let row = flat(product);
        assert_eq!(
            (&row["id"], &row["available"], &row["shipped"]),
            (&json!(1), &json!(3), &json!(0))
        );
        assert_eq!(flat(json!({"id": 1}))["id"], 1);
    }
}
