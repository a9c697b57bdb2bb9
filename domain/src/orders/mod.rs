//! A shop: products, their stock, and orders that reserve it.
//!
//! - A **product** has a current price; an order keeps the price at the time it was placed.
//! - A **stock item** counts the pieces of one product: available, reserved, shipped. Their sum is
//!   always the number of pieces received.
//! - An **order** is pending until all its lines are reserved, then confirmed, then shipped; a
//!   cancelled order releases its reservations.
//! - **Fulfilment** is the process manager that reserves stock for orders and confirms them.
//!
//! Streams: `product-{id}`, `sku-{sku}` (the product that owns the SKU), `stock-{product id}`,
//! `order-{id}`.

pub mod money;
pub mod product;
pub mod stock_item;
pub mod order;
pub mod fulfilment;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod fulfilment_proptest;

use uuid::Uuid;

use eventsourcing::Context;
use eventsourcing::decider::AnyDecider;
use eventsourcing::decider::Decider;
use eventsourcing::event::StreamId;
use eventsourcing::union;

pub use money::{Currency, InvalidMoney, Money, Price};
pub use order::Order;
pub use product::{Product, Sku, SkuOwner};
pub use stock_item::StockItem;

/// The context of products, stock and orders.
pub const CONTEXT: Context = Context {
    name: "orders",
    categories: &[Order::CATEGORY, Product::CATEGORY, SkuOwner::CATEGORY, StockItem::CATEGORY],
    events: &[order::TYPES, product::TYPES, product::SKU_TYPES, stock_item::TYPES],
    deciders: &[
        AnyDecider::of::<Order>(),
        AnyDecider::of::<Product>(),
        AnyDecider::of::<StockItem>(),
    ],
};

union! {
    /// Events of the shop.
    pub enum Event {
        Order(order::Event),
        Product(product::Event),
        Sku(product::SkuEvent),
        Stock(stock_item::Event),
    }
}

/// Returns the stream of an order.
pub fn order_stream(id: Uuid) -> StreamId {
    StreamId::new(Order::CATEGORY, id)
}

/// Returns the stream of a product.
pub fn product_stream(id: Uuid) -> StreamId {
    StreamId::new(Product::CATEGORY, id)
}

/// Returns the stream of a product's stock.
pub fn stock_stream(product_id: Uuid) -> StreamId {
    StreamId::new(StockItem::CATEGORY, product_id)
}

/// Returns the stream that records the owner of a SKU.
pub fn sku_stream(sku: &Sku) -> StreamId {
    StreamId::new(SkuOwner::CATEGORY, sku)
}
