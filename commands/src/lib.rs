//! The write side: load, fold, decide, append. It knows nothing of read models.

mod handler;
mod process;
pub mod orders;
pub mod works;

pub use handler::{Done, Envelope, Error, Handler, LoadError, Loaded};

use domain::orders::{Order, Product, StockItem};
use domain::works::Work;
use eventstore::EventStore;

/// Name of every process manager, which is also the name of its consumer.
pub const PROCESS_MANAGERS: [&str; 1] = [<orders::Fulfilment as process::Process>::NAME];

/// A handler for every decider there is: the one list.
#[derive(Debug)]
pub struct Handlers {
    pub orders: Handler<Order>,
    pub products: Handler<Product>,
    pub stock: Handler<StockItem>,
    pub works: Handler<Work>,
}

impl Handlers {
    pub fn new(store: &EventStore) -> Self {
        Self {
            orders: Handler::new(store.clone()),
            products: Handler::new(store.clone()),
            stock: Handler::new(store.clone()),
            works: Handler::new(store.clone()),
        }
    }
}
