//! Waiting for a newer build. During a rolling upgrade, a consumer of the old build meets an event
//! whose type or schema version only the new build knows. The old consumer stops in front of the
//! event, shows that it waits, and goes on once a consumer of the new build has moved the checkpoint
//! past the event, or an operator skips it.

use std::time::Duration;

use tokio::time::sleep;

use super::consumer::ConsumeError;
use super::failed::Failed;
use super::parked;
use crate::EventStore;

/// Waits until `consumer` need no longer wait at the event `at`: its checkpoint has moved, or an
/// operator has decided to skip or to retry the event. Stores a heartbeat `every` so often.
pub(super) async fn wait(
    store: &EventStore,
    consumer: &str,
    every: Duration,
    at: &Failed,
) -> Result<(), ConsumeError> {
    let Failed { key, position, error } = at;
    tracing::warn!(consumer, %position, stream = %key, error, "consumer waits for a newer build");
    let waiting = metrics::gauge!("tributary_consumer_waiting", "consumer" => consumer.to_owned());
    waiting.set(1.0);
    let waited = wait_at(store, consumer, every, at).await;
    waiting.set(0.0);
    if waited.is_ok() {
        tracing::info!(consumer, %position, "consumer no longer waits, resuming");
    }
    waited
}

async fn wait_at(
    store: &EventStore,
    consumer: &str,
    every: Duration,
    at: &Failed,
) -> Result<(), ConsumeError> {
    let checkpoint = parked::wait_at(store.pool(), consumer, at).await?;
    loop {
        sleep(every).await;
        if !parked::waits_at(store.pool(), consumer, at, checkpoint).await? {
            return Ok(());
        }
        store.heartbeat(consumer).await?;
    }
}
