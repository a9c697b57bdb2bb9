//! The write side: load, fold, decide, append. It does not read read models.

mod authority;
mod error;
mod execution;
mod multiple_of;
mod handler;
mod process;
mod stream_locks;
pub mod alerts;
pub mod documents;
pub mod orders;
pub mod users;
pub mod projects;
pub mod readings;
pub mod works;
#[cfg(test)]
mod pinned;

pub use error::{Error, LoadError};
pub use execution::Loaded;
pub use handler::{Done, Envelope, Handler};

use eventstore::EventStore;

/// Name of every process manager and of its consumer.
pub const PROCESS_MANAGERS: [&str; 3] =
    [alerts::Watcher::NAME, <orders::Fulfilment as process::Process>::NAME, orders::DEADLINES];

macro_rules! handlers {
    ($($name:ident: $handler:ty,)*) => {
        /// The handlers of every decider.
        #[derive(Debug)]
        pub struct Handlers {
            $(
                #[doc = concat!("Handles the commands of ", stringify!($name), ".")]
                pub $name: $handler,
            )*
        }

        impl Handlers {
            /// Makes every handler, with empty caches.
            pub fn new(store: &EventStore) -> Self {
                Self { $($name: <$handler>::new(store.clone()),)* }
            }
        }
    };
}

// The only list of handlers.
handlers! {
    alerts: Handler<domain::alerts::Alert>,
    documents: Handler<domain::documents::document::Document>,
    orders: Handler<domain::orders::Order>,
    presence: Handler<domain::telemetry::presence::Setting>,
    products: Handler<domain::orders::Product>,
    projects: projects::Projects,
    rules: Handler<domain::alerts::Rules>,
    schemas: documents::Schemas,
    stock: Handler<domain::orders::StockItem>,
    users: users::Users,
    works: Handler<domain::works::Work>,
}
