//! The write side: load, fold, decide, append. It knows nothing of read models.

mod handler;
pub mod projects;
pub mod works;

pub use handler::{Done, Envelope, Error, Handler, Loaded};

use domain::works::Work;
use eventstore::EventStore;
use projects::Projects;

/// A handler for every decider there is: the one list.
#[derive(Debug)]
pub struct Handlers {
    pub projects: Projects,
    pub works: Handler<Work>,
}

impl Handlers {
    pub fn new(store: &EventStore) -> Self {
        Self { projects: Projects::new(store), works: Handler::new(store.clone()) }
    }
}
