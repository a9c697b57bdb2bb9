//! The read side: pure projections, their set-wise writes and their queries, one file a context;
//! and the projector that keeps their tables up to date. It knows nothing of the write side.
//!
//! A projection owns the Postgres schema of its name. Its statements name tables without schema:
//! the projector's connection points at the live schema, a rebuild's at the shadow schema.

#![warn(clippy::wildcard_enum_match_arm)]

mod by_name;
mod columns;
mod list;
mod projection;
mod projector;
mod progress;
mod rebuild;
mod schema;
mod spans;
mod status;
mod wait;
#[cfg(test)]
mod testing;

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

pub use by_name::{ByName, Named, UnknownName};
pub use progress::Progress;
pub use projection::Projection;
pub use rebuild::{Difference, Phase, Purpose, Rebuild, RebuildError, Rebuilt, Step};
pub use schema::{create_schemas, outdated, prepare};
pub use status::{STALLED_AFTER, State, Status, statuses};
pub use wait::{WaitError, Waiter};

use eventstore::{EventStore, Feed, Tasks, consume};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use projector::Projector;

/// Calls `$visit::<P>($arg, …)` for every projection: the one list of projections.
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

/// Names of all projections, which are also the names of their consumers and schemas.
pub fn names() -> Vec<&'static str> {
    fn name<P: Projection>() -> &'static str {
        P::NAME
    }
    for_each_projection!(name()).into()
}

/// Names of all projections with the stream categories that each follows; without any, all.
pub fn categories() -> Vec<(&'static str, &'static [&'static str])> {
    fn followed<P: Projection>() -> (&'static str, &'static [&'static str]) {
        (P::NAME, P::CATEGORIES)
    }
    for_each_projection!(followed()).into()
}

/// Runs every projection on `tasks` until `shutdown`.
pub fn spawn(
    store: &EventStore,
    feed: &Feed,
    progress: &Progress,
    tasks: &Tasks,
    shutdown: &CancellationToken,
) {
    fn run<P: Projection>(
        store: &EventStore,
        feed: &Feed,
        progress: &Progress,
        shutdown: &CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let mut projector = Projector::<P>::new(P::NAME.to_owned(), progress.sender(P::NAME));
        let (store, feed, shutdown) = (store.clone(), feed.clone(), shutdown.clone());
        async move { consume::run(&mut projector, &store, &feed, &shutdown).await }.boxed()
    }
    let running = for_each_projection!(run(store, feed, progress, shutdown));
    for (name, running) in names().into_iter().zip(running) {
        tasks.spawn(name, running);
    }
}
