//! Orders with their history, stuck orders, and products with their stock.

mod names;
mod order_list;
mod stock_level;
mod stuck;

pub use names::{
    CancelReason, CancelReasonName, HistoryEvent, HistoryEventName, Status, StatusName,
};
pub use order_list::{HistoryEntry, Item, OrderFilter, OrderList, OrderRow, order, orders};
pub use stock_level::{ProductRow, Stock, StockLevel, StockSums, product, products, stock_sums};
pub use stuck::{HeldUpBy, StuckOrder, WaitsFor, stuck};
