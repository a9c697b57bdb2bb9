//! Orders: what surrounds their decisions, the process manager that fulfils them, and their deadlines.

mod fulfilment;
mod deadlines;
mod pricing;

pub use deadlines::{NAME as DEADLINES, OrderDeadlines};
pub use fulfilment::Fulfilment;
pub use pricing::{PricingError, Shown, add_product, change_product, move_stock, price_items};
