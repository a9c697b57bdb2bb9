//! The write side: load, fold, decide, append. It knows nothing of read models.

mod handler;
mod process;
pub mod orders;
pub mod works;

pub use handler::{Done, Envelope, Error, Handler, LoadError, Loaded};

use eventstore::EventStore;

/// Name of every process manager, which is also the name of its consumer.
pub const PROCESS_MANAGERS: [&str; 1] = [<orders::Fulfilment as process::Process>::NAME];

macro_rules! handlers {
    ($($name:ident: $decider:ty,)*) => {
        /// A handler for every decider there is.
        #[derive(Debug)]
        pub struct Handlers {
            $(pub $name: Handler<$decider>,)*
        }

        impl Handlers {
            pub fn new(store: &EventStore) -> Self {
                Self { $($name: Handler::new(store.clone()),)* }
            }
        }
    };
}

// The one list.
handlers! {
    orders: domain::orders::Order,
    products: domain::orders::Product,
    stock: domain::orders::StockItem,
    works: domain::works::Work,
}
