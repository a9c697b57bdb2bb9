//! The shop as it is asked for: orders with their history, and products with their stock.

mod order_list;
mod stock_level;

pub use order_list::{
    HistoryEntry, Item, OrderFilter, OrderList, OrderRow, expired, order, orders,
};
pub use stock_level::{ProductRow, Stock, StockLevel, product, products};
