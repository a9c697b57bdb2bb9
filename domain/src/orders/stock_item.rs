//! The stock of one product. Every received piece is available, reserved or shipped:
//! `received = available + reserved + shipped` after every event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[
    ("stock_received", 1),
    ("stock_corrected", 1),
    ("stock_reserved", 1),
    ("stock_refused", 1),
    ("stock_released", 1),
    ("stock_shipped", 1),
];

/// Events of the stock of a product. Quantities are numbers of pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Pieces were received.
    StockReceived {
        /// Pieces added to the available stock.
        quantity: u32,
        /// Why they were received, for people.
        reason: String,
    },
    /// Pieces were written off: missing, broken or lost.
    StockCorrected {
        /// Pieces removed from the available stock.
        quantity: u32,
        /// Why they were written off, for people.
        reason: String,
    },
    /// Available pieces were reserved for an order.
    StockReserved {
        /// Id of the order.
        order_id: Uuid,
        /// Reserved pieces.
        quantity: u32,
    },
    /// The stock was too low to reserve pieces for an order.
    StockRefused {
        /// Id of the order.
        order_id: Uuid,
        /// Pieces that were ordered.
        quantity: u32,
        /// Pieces that were available.
        available: u64,
    },
    /// The reservation of a cancelled order was released; its pieces are available again.
    StockReleased {
        /// Id of the order.
        order_id: Uuid,
        /// Released pieces.
        quantity: u32,
    },
    /// The reserved pieces of an order were shipped.
    StockShipped {
        /// Id of the order.
        order_id: Uuid,
        /// Shipped pieces.
        quantity: u32,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

impl Event {
    /// Returns the id of the order that the event concerns, or `None` if it concerns none.
    pub fn order_id(&self) -> Option<Uuid> {
        match self {
            Self::StockReceived { .. } | Self::StockCorrected { .. } => None,
            Self::StockReserved { order_id, .. }
            | Self::StockRefused { order_id, .. }
            | Self::StockReleased { order_id, .. }
            | Self::StockShipped { order_id, .. } => Some(*order_id),
        }
    }
}

/// Commands of the stock of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Adds received pieces.
    Receive {
        /// Number of pieces.
        quantity: u32,
        /// Why they were received, for people.
        reason: String,
    },
    /// Writes off available pieces.
    Correct {
        /// Number of pieces.
        quantity: u32,
        /// Why they are written off, for people.
        reason: String,
    },
    /// Reserves pieces for an order, or records that the stock is too low. Does nothing if the order
    /// has a reservation.
    Reserve {
        /// Id of the order.
        order_id: Uuid,
        /// Number of pieces.
        quantity: u32,
    },
    /// Releases the reservation of an order, if it has one.
    Release {
        /// Id of the order.
        order_id: Uuid,
    },
    /// Ships the reserved pieces of an order, if it has a reservation.
    Ship {
        /// Id of the order.
        order_id: Uuid,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A correction would remove more pieces than are available.
    #[error("only {available} pieces are available; reserved pieces cannot be written off")]
    BelowZero {
        /// Pieces that are available.
        available: u64,
    },
    /// The product does not exist. Returned by the write side, which checks the product's stream.
    #[error("the product does not exist")]
    NoProduct,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::BelowZero { .. } => Kind::Conflict,
            Self::NoProduct => Kind::NotFound,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BelowZero { .. } => "stock_below_zero",
            Self::NoProduct => "product_not_found",
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::BelowZero { .. } => Some("/quantity".into()),
            Self::NoProduct => None,
        }
    }
}

/// The stock of a product. It holds open reservations only, so its size is bounded by the number of
/// open orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StockItem {
    /// Pieces that can be reserved.
    pub available: u64,
    /// Reserved pieces by the id of the order.
    pub reserved: BTreeMap<Uuid, u32>,
    /// Pieces shipped so far.
    pub shipped: u64,
}

impl StockItem {
    /// Returns the number of pieces reserved for all orders.
    pub fn reserved(&self) -> u64 {
        self.reserved.values().copied().map(u64::from).sum()
    }
}

impl Decider for StockItem {
    const CATEGORY: &'static str = "stock";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        let Self { available, reserved, .. } = self;
        match command {
            Command::Receive { quantity, reason } => {
                accept(Event::StockReceived { quantity, reason })
            }
            Command::Correct { quantity, reason } => {
                if u64::from(quantity) > *available {
                    return reject(Rejection::BelowZero { available: *available });
                }
                accept(Event::StockCorrected { quantity, reason })
            }
            Command::Reserve { order_id, .. } if reserved.contains_key(&order_id) => nothing(),
            Command::Reserve { order_id, quantity } if u64::from(quantity) > *available => {
                accept(Event::StockRefused { order_id, quantity, available: *available })
            }
            Command::Reserve { order_id, quantity } => {
                accept(Event::StockReserved { order_id, quantity })
            }
            Command::Release { order_id } => match reserved.get(&order_id) {
                Some(&quantity) => accept(Event::StockReleased { order_id, quantity }),
                None => nothing(), // Never reserved, or released before.
            },
            Command::Ship { order_id } => match reserved.get(&order_id) {
                Some(&quantity) => accept(Event::StockShipped { order_id, quantity }),
                None => nothing(), // Shipped before.
            },
        }
    }

    fn evolve(mut self, event: &Event) -> Self {
        match event {
            Event::StockReceived { quantity, .. } => self.available += u64::from(*quantity),
            Event::StockCorrected { quantity, .. } => {
                self.available = self.available.saturating_sub((*quantity).into());
            }
            Event::StockReserved { order_id, quantity } => {
                self.available = self.available.saturating_sub((*quantity).into());
                self.reserved.insert(*order_id, *quantity);
            }
            Event::StockRefused { .. } => {}
            Event::StockReleased { order_id, quantity } => {
                self.reserved.remove(order_id);
                self.available += u64::from(*quantity);
            }
            Event::StockShipped { order_id, quantity } => {
                self.reserved.remove(order_id);
                self.shipped += u64::from(*quantity);
            }
        }
        self
    }
}
