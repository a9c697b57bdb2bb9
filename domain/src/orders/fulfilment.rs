//! Fulfilment: the process manager that moves an order along. It reserves line by line, confirms
//! when all are reserved, and releases what was reserved when the order is cancelled, for whatever
//! reason.
//!
//! It keeps nothing of its own. What follows from an event depends on the event and on the order as
//! it is now, so an event that comes again, or late, leads to the same end. Reserving twice is the
//! one thing that state cannot rule out once a reservation is gone again; each command therefore
//! carries a key made of the event it follows from, and is done once.

use uuid::Uuid;

use super::order::{self, Order, Placed};
use super::{Event, stock_item};

/// A command that follows, and the stream it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dispatch {
    /// To the order itself.
    Order(order::Command),
    /// To the stock of this product.
    Stock(Uuid, stock_item::Command),
}

/// The order an event concerns: for events of orders the key of their stream.
pub fn order_of(event: &Event, stream_key: &str) -> Option<Uuid> {
    match event {
        Event::Order(_) => Uuid::parse_str(stream_key).ok(),
        Event::Stock(event) => event.order_id(),
        Event::Product(_) | Event::Sku(_) => None,
    }
}

/// What follows from `event`, which concerns the order `id` that is now `order`. `product` is the
/// key of a stock event's stream.
pub fn react(event: &Event, id: Uuid, product: Option<Uuid>, order: &Order) -> Vec<Dispatch> {
    match (event, order) {
        (Event::Order(event), order) => react_to_order(event, id, order),
        (Event::Stock(event), order) => {
            product.map(|product| react_to_stock(event, id, product, order)).unwrap_or_default()
        }
        (Event::Product(_) | Event::Sku(_), _) => Vec::new(),
    }
}

fn react_to_order(event: &order::Event, id: Uuid, order: &Order) -> Vec<Dispatch> {
    use stock_item::Command::{Release, Ship};
    let each_line = |command: stock_item::Command| {
        let lines = order.placed().into_iter().flat_map(|placed| &placed.lines);
        lines.map(|line| Dispatch::Stock(line.product_id, command.clone())).collect()
    };
    match (event, order) {
        (order::Event::OrderPlaced(_), Order::Pending(placed)) => reserve(id, placed, 0),
        (order::Event::OrderCancelled { .. }, _) => each_line(Release { order_id: id }),
        (order::Event::OrderShipped {}, _) => each_line(Ship { order_id: id }),
        (order::Event::OrderPlaced(_) | order::Event::OrderConfirmed {}, _) => Vec::new(),
    }
}

fn react_to_stock(
    event: &stock_item::Event,
    id: Uuid,
    product: Uuid,
    order: &Order,
) -> Vec<Dispatch> {
    match (event, order) {
        (stock_item::Event::StockReserved { .. }, Order::Pending(placed)) => {
            let line = placed.lines.iter().position(|line| line.product_id == product);
            line.map(|line| reserve(id, placed, line + 1)).unwrap_or_default()
        }
        // It was cancelled while the reservation was under way.
        (stock_item::Event::StockReserved { .. }, Order::Cancelled(_)) => {
            vec![Dispatch::Stock(product, stock_item::Command::Release { order_id: id })]
        }
        (
            stock_item::Event::StockRefused { quantity, available, .. },
            Order::Pending(_) | Order::Cancelled(_),
        ) => {
            let (wanted, available) = (*quantity, *available);
            let refuse = order::Command::Refuse { product_id: product, wanted, available };
            vec![Dispatch::Order(refuse)]
        }
        (
            stock_item::Event::StockReserved { .. } | stock_item::Event::StockRefused { .. },
            Order::Unplaced | Order::Confirmed(_) | Order::Shipped(_),
        )
        | (
            stock_item::Event::StockReceived { .. }
            | stock_item::Event::StockCorrected { .. }
            | stock_item::Event::StockReleased { .. }
            | stock_item::Event::StockShipped { .. },
            _,
        ) => Vec::new(),
    }
}

/// Reserves line number `line`; behind the last one, everything is reserved.
fn reserve(id: Uuid, placed: &Placed, line: usize) -> Vec<Dispatch> {
    vec![match placed.lines.get(line) {
        Some(line) => {
            let quantity = line.quantity;
            let reserve = stock_item::Command::Reserve { order_id: id, quantity };
            Dispatch::Stock(line.product_id, reserve)
        }
        None => Dispatch::Order(order::Command::Confirm),
    }]
}
