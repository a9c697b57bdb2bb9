//! What orders are named by: status, reason of a cancellation, and events of the history.

use domain::orders::order::Reason;

use crate::by_name::{ByName, Named};

/// Status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its items are being reserved.
    Pending,
    /// Every item is reserved.
    Confirmed,
    /// The order was shipped.
    Shipped,
    /// The order was cancelled; reserved items are released.
    Cancelled,
}

impl Named for Status {
    const SCHEMA: &'static str = "OrderStatus";
    const ALL: &'static [Self] = &[Self::Pending, Self::Confirmed, Self::Shipped, Self::Cancelled];

    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Shipped => "shipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A [`Status`] in a row.
pub type StatusName = ByName<Status>;

/// Why an order was cancelled: the code of the domain's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// A product had too few pieces.
    OutOfStock,
    /// By the customer or an operator.
    Requested,
    /// Not confirmed in time.
    Expired,
}

impl From<&Reason> for CancelReason {
    fn from(reason: &Reason) -> Self {
        match reason {
            Reason::OutOfStock { .. } => Self::OutOfStock,
            Reason::Requested => Self::Requested,
            Reason::Expired => Self::Expired,
        }
    }
}

impl Named for CancelReason {
    const SCHEMA: &'static str = "OrderCancelReason";
    const ALL: &'static [Self] = &[Self::OutOfStock, Self::Requested, Self::Expired];

    fn name(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::Requested => "requested",
            Self::Expired => "expired",
        }
    }
}

/// A [`CancelReason`] in a row.
pub type CancelReasonName = ByName<CancelReason>;

/// An event in the history of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryEvent {
    /// The order was placed.
    Placed,
    /// Pieces of a product were reserved.
    StockReserved,
    /// A product had too few pieces.
    StockRefused,
    /// Every item was reserved.
    Confirmed,
    /// The order was cancelled; reserved items are released.
    Cancelled,
    /// Reserved pieces of a product were released.
    StockReleased,
    /// The order was shipped.
    Shipped,
    /// Reserved pieces of a product were shipped.
    StockShipped,
}

impl Named for HistoryEvent {
    const SCHEMA: &'static str = "OrderHistoryEvent";
    const ALL: &'static [Self] = &[
        Self::Placed,
        Self::StockReserved,
        Self::StockRefused,
        Self::Confirmed,
        Self::Cancelled,
        Self::StockReleased,
        Self::Shipped,
        Self::StockShipped,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::StockReserved => "stock_reserved",
            Self::StockRefused => "stock_refused",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::StockReleased => "stock_released",
            Self::Shipped => "shipped",
            Self::StockShipped => "stock_shipped",
        }
    }
}

/// A [`HistoryEvent`] in a row.
pub type HistoryEventName = ByName<HistoryEvent>;
