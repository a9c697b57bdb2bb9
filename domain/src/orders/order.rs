//! An order, from being placed to leaving the house.
//!
//! ```text
//! pending ──► confirmed ──► shipped
//!    │            │
//!    └────────────┴──► cancelled
//! ```

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Currency, Money, Price, Sku};
use crate::actor::Actor;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] =
    &[("order_placed", 1), ("order_confirmed", 1), ("order_cancelled", 1), ("order_shipped", 1)];

/// What happened to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Somebody wants these.
    OrderPlaced(Placed),
    /// Everything is set aside for it.
    OrderConfirmed {},
    /// It will not be delivered; what was set aside is released.
    OrderCancelled { reason: Reason },
    /// It left the house.
    OrderShipped {},
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// An order as it was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    pub customer_id: Uuid,
    /// Each product once, in the order they are reserved in.
    pub lines: Vec<Line>,
    pub currency: Currency,
    /// Of all lines.
    pub total: Money,
    /// If it is not confirmed by then, it is cancelled.
    pub reserve_until: DateTime<Utc>,
}

/// So many pieces of a product, as it was called and priced when the order was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub product_id: Uuid,
    pub sku: Sku,
    pub name: String,
    pub quantity: u32,
    /// Of one piece.
    pub price: Price,
}

/// Why an order was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// There was not enough of this product.
    OutOfStock { product_id: Uuid, wanted: u32, available: u64 },
    /// The customer, or an operator for them, did not want it any more.
    Requested,
    /// It could not be confirmed in time.
    Expired,
}

impl Reason {
    /// Stable name, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfStock { .. } => "out_of_stock",
            Self::Requested => "requested",
            Self::Expired => "expired",
        }
    }
}

impl Placed {
    /// An order of these lines; what they have in common must be so.
    pub fn new(
        customer_id: Uuid,
        lines: Vec<(Line, Currency)>,
        reserve_until: DateTime<Utc>,
    ) -> Result<Self, Rejection> {
        let currency = lines.first().ok_or(Rejection::Empty)?.1;
        if let Some(line) = lines.iter().position(|(_, other)| *other != currency) {
            return Err(Rejection::MixedCurrencies { line });
        }
        let lines: Vec<Line> = lines.into_iter().map(|(line, _)| line).collect();
        let total = lines
            .iter()
            .fold(Money::default(), |sum, line| sum.plus(line.price.times(line.quantity)));
        Ok(Self { customer_id, lines, currency, total, reserve_until })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Place(Placed),
    /// All lines are reserved.
    Confirm,
    /// A line could not be reserved.
    Refuse {
        product_id: Uuid,
        wanted: u32,
        available: u64,
    },
    /// It was not confirmed in time.
    Expire {
        now: DateTime<Utc>,
    },
    Cancel {
        by: Actor,
    },
    Ship,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such order")]
    NotFound,
    #[error("this order was placed before")]
    AlreadyPlaced,
    #[error("an order has at least one line")]
    Empty,
    #[error("all lines of an order are in one currency")]
    MixedCurrencies { line: usize },
    #[error("the order is not confirmed yet")]
    NotConfirmed,
    #[error("the order is not to be confirmed any more")]
    NotPending,
    #[error("the order may still be confirmed")]
    NotDue,
    #[error("the order has left the house")]
    Shipped,
    #[error("the order is cancelled")]
    Cancelled,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::Empty | Self::MixedCurrencies { .. } => Kind::Invalid,
            Self::AlreadyPlaced
            | Self::NotConfirmed
            | Self::NotPending
            | Self::NotDue
            | Self::Shipped
            | Self::Cancelled => Kind::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "order_not_found",
            Self::AlreadyPlaced => "order_already_placed",
            Self::Empty => "order_empty",
            Self::MixedCurrencies { .. } => "mixed_currencies",
            Self::NotConfirmed => "order_not_confirmed",
            Self::NotPending => "order_not_pending",
            Self::NotDue => "order_not_due",
            Self::Shipped => "order_shipped",
            Self::Cancelled => "order_cancelled",
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Empty => Some("/items".into()),
            Self::MixedCurrencies { line } => Some(format!("/items/{line}/product_id")),
            Self::NotFound
            | Self::AlreadyPlaced
            | Self::NotConfirmed
            | Self::NotPending
            | Self::NotDue
            | Self::Shipped
            | Self::Cancelled => None,
        }
    }
}

/// An order as its history leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Unplaced,
    Pending(Placed),
    Confirmed(Placed),
    Shipped(Placed),
    Cancelled(Placed),
}

impl Order {
    /// What was ordered.
    pub fn placed(&self) -> Option<&Placed> {
        match self {
            Self::Unplaced => None,
            Self::Pending(placed)
            | Self::Confirmed(placed)
            | Self::Shipped(placed)
            | Self::Cancelled(placed) => Some(placed),
        }
    }
}

impl Decider for Order {
    const CATEGORY: &'static str = "order";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    #[expect(clippy::match_same_arms, reason = "command by command: who asks what, and when")]
    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Place(placed), Self::Unplaced) => accept(Event::OrderPlaced(placed)),
            (Command::Place(_), _) => reject(Rejection::AlreadyPlaced),
            (_, Self::Unplaced) => reject(Rejection::NotFound),

            (Command::Confirm, Self::Pending(_)) => accept(Event::OrderConfirmed {}),
            (Command::Confirm, Self::Confirmed(_) | Self::Shipped(_))
            | (Command::Refuse { .. } | Command::Expire { .. }, Self::Cancelled(_)) => nothing(),
            (Command::Confirm, Self::Cancelled(_)) => reject(Rejection::NotPending),

            (Command::Refuse { product_id, wanted, available }, Self::Pending(_)) => {
                let reason = Reason::OutOfStock { product_id, wanted, available };
                accept(Event::OrderCancelled { reason })
            }

            (Command::Expire { now }, Self::Pending(placed)) => {
                if now < placed.reserve_until {
                    return reject(Rejection::NotDue);
                }
                accept(Event::OrderCancelled { reason: Reason::Expired })
            }
            (
                Command::Refuse { .. } | Command::Expire { .. },
                Self::Confirmed(_) | Self::Shipped(_),
            ) => reject(Rejection::NotPending),

            (
                Command::Cancel { by },
                Self::Pending(placed)
                | Self::Confirmed(placed)
                | Self::Shipped(placed)
                | Self::Cancelled(placed),
            ) if by.id != placed.customer_id && !by.sees_all() => reject(Rejection::NotFound),
            (Command::Cancel { .. }, Self::Pending(_) | Self::Confirmed(_)) => {
                accept(Event::OrderCancelled { reason: Reason::Requested })
            }
            (Command::Cancel { .. }, Self::Cancelled(_)) => nothing(),
            (Command::Cancel { .. }, Self::Shipped(_)) => reject(Rejection::Shipped),

            (Command::Ship, Self::Confirmed(_)) => accept(Event::OrderShipped {}),
            (Command::Ship, Self::Shipped(_)) => nothing(),
            (Command::Ship, Self::Pending(_)) => reject(Rejection::NotConfirmed),
            (Command::Ship, Self::Cancelled(_)) => reject(Rejection::Cancelled),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match (event, self) {
            (Event::OrderPlaced(placed), _) => Self::Pending(placed.clone()),
            (_, Self::Unplaced) => Self::Unplaced,
            (
                next,
                Self::Pending(placed)
                | Self::Confirmed(placed)
                | Self::Shipped(placed)
                | Self::Cancelled(placed),
            ) => match next {
                Event::OrderPlaced(placed) => Self::Pending(placed.clone()),
                Event::OrderConfirmed {} => Self::Confirmed(placed),
                Event::OrderCancelled { .. } => Self::Cancelled(placed),
                Event::OrderShipped {} => Self::Shipped(placed),
            },
        }
    }
}
