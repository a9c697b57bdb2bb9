//! What there is of one product. Every piece that came in is available, reserved or shipped:
//! `received = available + reserved + shipped`, at every event.

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

/// What happened to the stock of a product. Quantities are pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Pieces came in.
    StockReceived { quantity: u32, reason: String },
    /// Pieces were found to be missing, broken or gone.
    StockCorrected {
        /// How many fewer there are.
        quantity: u32,
        reason: String,
    },
    /// Set aside for an order.
    StockReserved { order_id: Uuid, quantity: u32 },
    /// There was not enough for an order.
    StockRefused { order_id: Uuid, quantity: u32, available: u64 },
    /// An order was cancelled: what was set aside for it is available again.
    StockReleased { order_id: Uuid, quantity: u32 },
    /// What was set aside for an order left the house.
    StockShipped { order_id: Uuid, quantity: u32 },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

impl Event {
    /// The order it concerns, if any.
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Receive {
        quantity: u32,
        reason: String,
    },
    /// So many fewer.
    Correct {
        quantity: u32,
        reason: String,
    },
    /// Always answered with an event: reserved, or refused.
    Reserve {
        order_id: Uuid,
        quantity: u32,
    },
    Release {
        order_id: Uuid,
    },
    Ship {
        order_id: Uuid,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("only {available} are available; what is reserved cannot be corrected away")]
    BelowZero { available: u64 },
    #[error("there is no such product")]
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

/// The stock of a product as its history leaves it. Only live reservations are kept, so it is as
/// small as the orders under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StockItem {
    pub available: u64,
    /// By order.
    pub reserved: BTreeMap<Uuid, u32>,
    pub shipped: u64,
}

impl StockItem {
    /// Pieces set aside for orders.
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
