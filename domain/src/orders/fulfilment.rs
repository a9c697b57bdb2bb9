//! Fulfilment: the process manager of orders. It reserves stock line by line, confirms the order when
//! all lines are reserved, and releases the reservations of a cancelled order.
//!
//! It has no state of its own: the commands depend on the event and the current state of the order,
//! so redelivered and late events lead to the same result. State alone cannot prevent a second
//! reservation after the first was released or shipped; each command therefore carries an idempotency
//! key derived from the event it follows from.

use uuid::Uuid;

use super::order::{self, Order, Placed};
use super::{Event, stock_item};

/// A command to execute, and the stream it is addressed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dispatch {
    /// A command to the order.
    Order(order::Command),
    /// A command to the stock of the product with this id.
    Stock(Uuid, stock_item::Command),
}

/// Returns the id of the order that an event concerns, or `None` if it concerns none. For events of
/// orders it is the key of their stream.
pub fn order_of(event: &Event, stream_key: &str) -> Option<Uuid> {
    match event {
        Event::Order(_) => Uuid::parse_str(stream_key).ok(),
        Event::Stock(event) => event.order_id(),
        Event::Product(_) | Event::Sku(_) => None,
    }
}

/// Returns the commands that follow from `event`, which concerns the order `id` in state `order`.
/// `product` is the key of the stream of a stock event.
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
        // The order was cancelled before the reservation was recorded.
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

/// Returns the command that reserves line number `line`, counted from 0; after the last line, the
/// command that confirms the order.
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
