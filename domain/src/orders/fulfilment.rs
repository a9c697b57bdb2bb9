//! Fulfilment: the process manager of orders. It reserves stock line by line, confirms the order when
//! all lines are reserved, and releases the reservations of a cancelled order.
//!
//! It has no state of its own: the commands depend on the event and the current state of the order,
//! so redelivered and late events lead to the same result. A reservation is appended on the condition
//! that the order has not changed since, so none is made for an order that is not pending. Each
//! command also carries an idempotency key of the event it follows from and of its target, with its
//! content as the fingerprint.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::order::{self, Order, Placed};
use super::{Event, order_stream, stock_item, stock_stream};
use eventsourcing::StreamId;

/// Name of the process manager and of its consumer.
pub const NAME: &str = "fulfilment";

/// A command to execute, and the stream it is addressed to. A reaction sends at most one command to a
/// stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dispatch {
    /// A command to the order with this id.
    Order(Uuid, order::Command),
    /// A command to the stock of the product with this id.
    Stock(Uuid, stock_item::Command),
}

impl Dispatch {
    /// Returns the stream that the command is addressed to.
    pub fn target(&self) -> StreamId {
        match self {
            Self::Order(id, _) => order_stream(*id),
            Self::Stock(product, _) => stock_stream(*product),
        }
    }

    /// Returns the content of the command as text, the fingerprint of its idempotency key. It is
    /// stored: a command of the same content must keep its text.
    pub fn content(&self) -> String {
        use order::Command as Order;
        use stock_item::Command as Stock;
        match self {
            // Without the time, which is another one at each attempt.
            Self::Order(_, Order::Confirm { now: _ }) => "confirm".into(),
            Self::Order(_, Order::Refuse { product_id, wanted, available }) => {
                format!("refuse {product_id} {wanted} {available}")
            }
            Self::Stock(_, Stock::Reserve { order_id, quantity }) => {
                format!("reserve {order_id} {quantity}")
            }
            Self::Stock(_, Stock::Release { order_id }) => format!("release {order_id}"),
            Self::Stock(_, Stock::Ship { order_id }) => format!("ship {order_id}"),
            // Fulfilment sends no others.
            Self::Order(
                _,
                other @ (Order::Place(_)
                | Order::Expire { .. }
                | Order::Cancel { .. }
                | Order::Ship),
            ) => format!("{other:?}"),
            Self::Stock(_, other @ (Stock::Receive { .. } | Stock::Correct { .. })) => {
                format!("{other:?}")
            }
        }
    }

    /// Whether the command reserves stock, which only a pending order may.
    pub fn is_reservation(&self) -> bool {
        matches!(self, Self::Stock(_, stock_item::Command::Reserve { .. }))
    }
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

/// An event that fulfilment reacts to.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// The event.
    pub event: &'a Event,
    /// The order that the event concerns.
    pub order_id: Uuid,
    /// The product of a stock event: the key of its stream.
    pub product: Option<Uuid>,
}

/// Returns the commands that follow from `cause` at the time `now`; its order is in state `order`.
pub fn react(cause: Cause<'_>, order: &Order, now: DateTime<Utc>) -> Vec<Dispatch> {
    let id = cause.order_id;
    match (cause.event, cause.product) {
        (Event::Order(event), _) => react_to_order(event, id, order),
        (Event::Stock(event), Some(product)) => react_to_stock(event, id, (product, now), order),
        (Event::Stock(_), None) | (Event::Product(_) | Event::Sku(_), _) => Vec::new(),
    }
}

fn react_to_order(event: &order::Event, id: Uuid, order: &Order) -> Vec<Dispatch> {
    use stock_item::Command::{Release, Ship};
    let each_line = |command: stock_item::Command| {
        let lines = order.placed().into_iter().flat_map(|placed| &placed.lines);
        lines.map(|line| Dispatch::Stock(line.product_id, command.clone())).collect()
    };
    match (event, order) {
        (order::Event::OrderPlaced(_), Order::Pending(placed)) => {
            reserve(id, placed, 0).into_iter().collect()
        }
        (order::Event::OrderCancelled { .. }, _) => each_line(Release { order_id: id }),
        (order::Event::OrderShipped {}, _) => each_line(Ship { order_id: id }),
        (order::Event::OrderPlaced(_) | order::Event::OrderConfirmed {}, _) => Vec::new(),
    }
}

fn react_to_stock(
    event: &stock_item::Event,
    id: Uuid,
    (product, now): (Uuid, DateTime<Utc>),
    order: &Order,
) -> Vec<Dispatch> {
    match (event, order) {
        (stock_item::Event::StockReserved { .. }, Order::Pending(placed)) => {
            let Some(line) = placed.lines.iter().position(|line| line.product_id == product) else {
                return Vec::new();
            };
            let confirm = order::Command::Confirm { now };
            vec![reserve(id, placed, line + 1).unwrap_or(Dispatch::Order(id, confirm))]
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
            vec![Dispatch::Order(id, refuse)]
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

/// Returns the command that reserves line number `line`, counted from 0; `None` after the last line.
fn reserve(id: Uuid, placed: &Placed, line: usize) -> Option<Dispatch> {
    let line = placed.lines.get(line)?;
    let reserve = stock_item::Command::Reserve { order_id: id, quantity: line.quantity };
    Some(Dispatch::Stock(line.product_id, reserve))
}
