//! Publishes the log to the bus.

use domain::Context;
use eventstore::Relay;
use tokio_util::sync::CancellationToken;

use crate::app::Parts;

/// Runs on tasks of its own; this only waits with it.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Parts { store, bus, tasks, .. } = parts;
    let _relay = Relay::start(store, bus, context_of, &tasks, shutdown.clone());
    shutdown.cancelled().await;
    Ok(())
}

fn context_of(category: &str) -> &'static str {
    Context::of_category(category).map_or("unknown", |context| context.name)
}
