//! Orders with their history, and products with their stock.

mod names;
mod order_list;
mod stock_level;

pub use names::{
    CancelReason, CancelReasonName, HistoryEvent, HistoryEventName, Status, StatusName,
};
pub use order_list::{
    HistoryEntry, Item, OrderFilter, OrderList, OrderRow, expired, order, orders,
};
pub use stock_level::{ProductRow, Stock, StockLevel, product, products};
