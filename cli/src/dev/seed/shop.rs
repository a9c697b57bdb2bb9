//! The products of the demo's shop, and their first stock.

use anyhow::Context;
use commands::Handlers;
use commands::orders::{add_product, move_stock};
use domain::Name;
use domain::orders::product::Command;
use domain::orders::{
    Currency, Price, Product as Listed, product_stream, stock_item, stock_stream,
};
use eventsourcing::Version;
use uuid::Uuid;

use super::super::people::Person;
use super::unless_refused;

/// A product of the demo.
pub(in super::super) struct Product {
    /// Product id, the same in every run.
    pub(in super::super) id: Uuid,
    sku: &'static str,
    name: &'static str,
    /// Price in euros.
    price: &'static str,
    /// Pieces of the first delivery.
    stock: u32,
}

const fn product(
    number: u128,
    (sku, name): (&'static str, &'static str),
    price: &'static str,
    stock: u32,
) -> Product {
    const FIRST: u128 = 0x0190_0000_0000_7000_8000_0000_0001_0000;
    Product { id: Uuid::from_u128(FIRST + number), sku, name, price, stock }
}

/// The products. The last one is rare: there is a single piece.
pub(in super::super) const PRODUCTS: [Product; 5] = [
    product(0, ("TEA-100", "Green tea, 100 g"), "4.50", 60),
    product(1, ("MUG-1", "Mug"), "12.00", 60),
    product(2, ("MONSTERA-3", "Monstera"), "24.00", 60),
    product(3, ("LAMP-2", "Desk lamp"), "39.90", 60),
    product(4, ("PIANO-88", "Grand piano"), "19900.00", 1),
];

/// Adds the products that are missing, and their first stock.
pub(super) async fn open(handlers: &Handlers, operator: Person) -> anyhow::Result<()> {
    for Product { id, sku, name, price, stock } in PRODUCTS {
        if handlers.products.load(&product_stream(id)).await?.state == Listed::Unknown {
            let command = Command::Add {
                sku: sku.parse()?,
                name: Name::<200>::try_from(name.to_owned())?.into(),
                price: Price::parse(price)?,
                currency: Currency::parse("EUR")?,
            };
            let added = add_product(handlers, id, command, operator.envelope()).await;
            unless_refused(added).with_context(|| format!("cannot add the product {sku}"))?;
        }
        if handlers.stock.load(&stock_stream(id)).await?.version == Version::NONE {
            let reason = "first delivery".to_owned();
            let receive = stock_item::Command::Receive { quantity: stock, reason };
            unless_refused(move_stock(handlers, id, receive, None, operator.envelope()).await)?;
        }
    }
    Ok(())
}
