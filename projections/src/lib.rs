//! The read side: pure projections, their set-wise writes and their queries, one file a context;
//! and the runner that keeps them up to date. It knows nothing of the write side.
//!
//! A projection owns the Postgres schema of its name. Its statements name tables without schema:
//! the runner's connection points at the live schema, a rebuild's at the one beside it.

mod projection;
mod rebuild;
mod retry;
mod runner;
mod schema;
mod status;
mod wait;

pub mod alerts;
pub mod causation;
pub mod documents;
pub mod host;
pub mod orders;
pub mod page_views;
pub mod projects;
pub mod telemetry;
pub mod users;
pub mod works;
#[cfg(test)]
mod pinned;

pub use eventstore::parked::MAX_ATTEMPTS;
pub use projection::{ProjectError, Projection};
pub use rebuild::{Difference, Phase, Purpose, Rebuild, RebuildError, Rebuilt, Step};
pub use runner::{BATCH_EVENTS, Progress};
pub use schema::{create_schemas, outdated, prepare};
pub use status::{STALLED_AFTER, State, Status, statuses};
pub use wait::{WaitError, Waiter};

use eventstore::{EventStore, Feed};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Calls `$visit::<P>($arg, …)` for every projection there is: the one list.
macro_rules! for_each_projection {
    ($visit:ident($($arg:expr),*)) => {
        [
            $visit::<crate::alerts::Alerts>($($arg),*),
            $visit::<crate::documents::Documents>($($arg),*),
            $visit::<crate::host::Host>($($arg),*),
            $visit::<crate::orders::OrderList>($($arg),*),
            $visit::<crate::orders::StockLevel>($($arg),*),
            $visit::<crate::page_views::PageViews>($($arg),*),
            $visit::<crate::projects::Projects>($($arg),*),
            $visit::<crate::telemetry::Telemetry>($($arg),*),
            $visit::<crate::causation::Causation>($($arg),*),
            $visit::<crate::users::Users>($($arg),*),
            $visit::<crate::works::Works>($($arg),*),
        ]
    };
}
pub(crate) use for_each_projection;

/// Name of every projection, which is also the name of its consumer and its schema.
pub fn names() -> Vec<&'static str> {
    fn name<P: Projection>() -> &'static str {
        P::NAME
    }
    for_each_projection!(name()).into()
}

/// Runs every projection on `tasks`.
pub fn spawn(
    store: &EventStore,
    feed: &Feed,
    progress: &Progress,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    fn run<P: Projection>(
        store: &EventStore,
        feed: &Feed,
        progress: &Progress,
        shutdown: &CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let runner = runner::run::<P>(
            store.clone(),
            feed.clone(),
            progress.clone(),
            CancellationToken::clone(shutdown),
        );
        runner.boxed()
    }
    for runner in for_each_projection!(run(store, feed, progress, shutdown)) {
        tasks.spawn(runner);
    }
}
