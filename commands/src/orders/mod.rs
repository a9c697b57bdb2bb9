//! Orders: what surrounds their decisions, and the process manager that fulfils them.

mod fulfilment;
mod pricing;

pub use fulfilment::Fulfilment;
pub use pricing::{PricingError, add_product, move_stock, price_items};
