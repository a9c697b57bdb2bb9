//! The write side: load, fold, decide, append. It knows nothing of read models.

mod handler;
pub mod projects;
pub mod works;

pub use handler::{Done, Envelope, Error, Handler, Loaded};

use domain::projects::{Project, Task};
use domain::works::Work;
use eventstore::EventStore;

/// A handler for every decider there is: the one list.
#[derive(Debug)]
pub struct Handlers {
    pub projects: Handler<Project>,
    pub tasks: Handler<Task>,
    pub works: Handler<Work>,
}

impl Handlers {
    pub fn new(store: &EventStore) -> Self {
        Self {
            projects: Handler::new(store.clone()),
            tasks: Handler::new(store.clone()),
            works: Handler::new(store.clone()),
        }
    }
}
