//! A shop: products at a price, their stock, and orders that reserve it.
//!
//! - A **product** has a price today; an order keeps the price of its day.
//! - A **stock item** is what there is of one product: available, reserved for an order, shipped.
//!   What came in is always the sum of the three.
//! - An **order** is pending until all its lines are reserved, then confirmed, then shipped; or it
//!   is cancelled, and what was reserved for it is released.
//! - **Fulfilment** moves an order along: it reads what happened and says what follows, one stream
//!   at a time.
//!
//! Streams: `product-{id}`, `sku-{sku}` (whose it is), `stock-{product id}`, `order-{id}`.

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
    /// What happens in the shop.
    pub enum Event {
        Order(order::Event),
        Product(product::Event),
        Sku(product::SkuEvent),
        Stock(stock_item::Event),
    }
}

/// The stream of one order.
pub fn order_stream(id: Uuid) -> StreamId {
    StreamId::new(Order::CATEGORY, id)
}

/// The stream of one product.
pub fn product_stream(id: Uuid) -> StreamId {
    StreamId::new(Product::CATEGORY, id)
}

/// The stream of one product's stock.
pub fn stock_stream(product_id: Uuid) -> StreamId {
    StreamId::new(StockItem::CATEGORY, product_id)
}

/// The stream that says whose a SKU is.
pub fn sku_stream(sku: &Sku) -> StreamId {
    StreamId::new(SkuOwner::CATEGORY, sku)
}
