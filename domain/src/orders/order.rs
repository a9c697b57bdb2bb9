//! An order, from placement to shipment.
//!
//! ```text
//! pending ──► confirmed ──► shipped
//!    │            │
//!    └────────────┴──► cancelled
//! ```

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Currency, Money, Price, Sku};
use crate::actor::Actor;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::event::Upcast;
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] =
    &[("order_placed", 1), ("order_confirmed", 1), ("order_cancelled", 2), ("order_shipped", 1)];

/// Version 1 of `order_cancelled` had its reason in an object of its own.
const UPCASTS: &[Upcast] = &[Upcast {
    event_type: "order_cancelled",
    from: 1,
    apply: |data| {
        let renamed = |name: String| if name == "code" { "reason".into() } else { name };
        match data.remove("reason") {
            Some(Value::Object(reason)) => {
                data.extend(reason.into_iter().map(|(name, value)| (renamed(name), value)));
            }
            // No version has this. It stays, so that the error of the decoder names it.
            Some(other) => drop(data.insert("reason".into(), other)),
            None => {}
        }
    },
}];

/// Events of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A customer placed the order.
    OrderPlaced(Placed),
    /// Stock is reserved for every line.
    OrderConfirmed {},
    /// The order was cancelled; its reservations are released.
    OrderCancelled {
        /// Why the order was cancelled: its code in `reason`, as the API shows it, and what belongs to it.
        #[serde(flatten)]
        reason: Reason,
    },
    /// The order was shipped.
    OrderShipped {},
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
    const UPCASTS: &'static [Upcast] = UPCASTS;
}

/// The content of an order, unchanged after it was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Id of the user who placed the order.
    pub customer_id: Uuid,
    /// Lines in the order in which they are reserved, by product id; at least one, each with a different
    /// product. One order for all: otherwise two orders of the same two products could each reserve
    /// one, refuse each other the second, and both be cancelled. (Orders that an earlier build placed
    /// hold their lines as in the cart.)
    pub lines: Vec<Line>,
    /// Currency of all prices.
    pub currency: Currency,
    /// Total price of all lines.
    pub total: Money,
    /// Time after which the order is cancelled if it is not confirmed.
    pub reserve_until: DateTime<Utc>,
}

/// Maximum number of pieces of one product in a new order.
pub const MAX_PIECES: u32 = 10_000;

/// A line of an order: a quantity of one product, with its name and price when the order was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Id of the product.
    pub product_id: Uuid,
    /// SKU of the product.
    pub sku: Sku,
    /// Name of the product.
    pub name: String,
    /// Number of pieces.
    pub quantity: u32,
    /// Unit price, decimal.
    pub price: Price,
}

/// Why an order was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The stock of a product was too low.
    OutOfStock {
        /// Id of the product.
        product_id: Uuid,
        /// Pieces that were ordered.
        wanted: u32,
        /// Pieces that were available.
        available: u64,
    },
    /// The customer, or an operator on the customer's behalf, cancelled it.
    Requested,
    /// The order was not confirmed before its deadline.
    Expired,
}

impl Reason {
    /// Returns the stable code, as stored and shown by the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfStock { .. } => "out_of_stock",
            Self::Requested => "requested",
            Self::Expired => "expired",
        }
    }
}

impl Placed {
    /// Builds an order of `lines`, each with the currency of its product: sorts them by product id and
    /// adds up the total.
    ///
    /// # Errors
    /// Returns [`Rejection::Empty`] without lines, and [`Rejection::MixedCurrencies`] if the
    /// currencies differ.
    pub fn new(
        customer_id: Uuid,
        lines: Vec<(Line, Currency)>,
        reserve_until: DateTime<Utc>,
    ) -> Result<Self, Rejection> {
        let currency = lines.first().ok_or(Rejection::Empty)?.1;
        if let Some(line) = lines.iter().position(|(_, other)| *other != currency) {
            return Err(Rejection::MixedCurrencies { line });
        }
        let mut lines: Vec<Line> = lines.into_iter().map(|(line, _)| line).collect();
        lines.sort_unstable_by_key(|line| line.product_id);
        let total = lines
            .iter()
            .fold(Money::default(), |sum, line| sum.plus(line.price.times(line.quantity)));
        Ok(Self { customer_id, lines, currency, total, reserve_until })
    }
}

/// Commands of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Places the order.
    Place(Placed),
    /// Confirms the order, or cancels it if its time was over; sent by fulfilment when all lines are
    /// reserved.
    Confirm {
        /// Current time.
        now: DateTime<Utc>,
    },
    /// Cancels the order; sent by fulfilment when a line cannot be reserved.
    Refuse {
        /// Id of the product.
        product_id: Uuid,
        /// Pieces that were ordered.
        wanted: u32,
        /// Pieces that are available.
        available: u64,
    },
    /// Cancels an order that was not confirmed in time.
    Expire {
        /// Current time.
        now: DateTime<Utc>,
    },
    /// Cancels the order on request.
    Cancel {
        /// User who asks for it: the customer or an operator.
        by: Actor,
    },
    /// Records that the order was shipped.
    Ship,
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The order does not exist, or belongs to another customer.
    #[error("the order does not exist")]
    NotFound,
    /// An order with this id is placed already.
    #[error("the order was placed already")]
    AlreadyPlaced,
    /// The order has no lines.
    #[error("an order has at least one line")]
    Empty,
    /// The lines are in different currencies.
    #[error("all lines of an order must be in one currency")]
    MixedCurrencies {
        /// Index of the first line in another currency than line 0.
        line: usize,
    },
    /// A pending order cannot be shipped.
    #[error("the order is not confirmed yet")]
    NotConfirmed,
    /// The order is confirmed, shipped or cancelled already.
    #[error("the order is no longer pending")]
    NotPending,
    /// The order has not expired yet.
    #[error("the time to confirm the order is not over")]
    NotDue,
    /// A shipped order cannot be cancelled.
    #[error("the order was shipped")]
    Shipped,
    /// A cancelled order cannot be shipped.
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

/// The state of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The order does not exist yet.
    #[default]
    Unplaced,
    /// Placed; fulfilment reserves its lines.
    Pending(Placed),
    /// All lines are reserved.
    Confirmed(Placed),
    /// Shipped; cannot be cancelled any more.
    Shipped(Placed),
    /// Cancelled; its reservations are released.
    Cancelled(Placed),
}

impl Order {
    /// Returns the content of the order, or `None` if it does not exist.
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

    #[expect(clippy::match_same_arms, reason = "arms are grouped by command")]
    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Place(placed), Self::Unplaced) => accept(Event::OrderPlaced(placed)),
            (Command::Place(_), _) => reject(Rejection::AlreadyPlaced),
            (_, Self::Unplaced) => reject(Rejection::NotFound),

            (Command::Confirm { now }, Self::Pending(placed)) if now >= placed.reserve_until => {
                accept(Event::OrderCancelled { reason: Reason::Expired })
            }
            (Command::Confirm { .. }, Self::Pending(_)) => accept(Event::OrderConfirmed {}),
            (Command::Confirm { .. }, Self::Confirmed(_) | Self::Shipped(_))
            | (Command::Refuse { .. } | Command::Expire { .. }, Self::Cancelled(_)) => nothing(),
            (Command::Confirm { .. }, Self::Cancelled(_)) => reject(Rejection::NotPending),

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
