//! Runs a consumer until shutdown, and starts it again after an error or a panic.

use std::convert::Infallible;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::backoff::Backoff;
use super::consumer::{ConsumeError, Consumer};
use super::newer;
use super::runner::Runner;
use crate::tasks::caught;
use crate::{ErrorChain, EventStore, Feed, fault};

/// Runs `consumer` until `shutdown`. After an error or a panic it starts again at its checkpoint,
/// after a wait of 100 ms to 5 s. A batch under way at `shutdown` is given up: its transaction is
/// rolled back, and it is handled again at the next start. In front of an event that only a newer build
/// knows it waits, without the lease, for one to take over.
pub async fn run<C: Consumer>(
    consumer: &mut C,
    store: &EventStore,
    feed: &Feed,
    shutdown: &CancellationToken,
) {
    let owner = Uuid::now_v7();
    let mut backoff = Backoff::default();
    let mut after_crash = true; // The process before this one may have died of an event.
    loop {
        let started = Instant::now();
        let followed = caught(Box::pin(follow(consumer, store, feed, owner, after_crash)));
        let mut error = match shutdown.run_until_cancelled(followed).await {
            None => break,
            Some(Ok(Ok(never))) => match never {},
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => ConsumeError::Panicked(panic),
        };
        after_crash = matches!(error, ConsumeError::Panicked(_));
        if let ConsumeError::NewerBuild(at) = &error {
            release_lease::<C>(store, owner).await;
            let waiting = newer::wait(store, consumer.name(), C::HEARTBEAT, at);
            let waited = shutdown.run_until_cancelled(waiting).await;
            match waited {
                None => break,
                Some(Ok(())) => continue,
                Some(Err(failed)) => error = failed,
            }
        }
        let wait = backoff.after(started.elapsed());
        report::<C>(&error, wait);
        if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
            break;
        }
    }
    release_lease::<C>(store, owner).await;
}

async fn release_lease<C: Consumer>(store: &EventStore, owner: Uuid) {
    if C::LEASE.is_some()
        && let Err(error) = store.release_lease(C::NAME, owner).await
    {
        tracing::debug!(consumer = C::NAME, %error, "lease not released; it expires");
    }
}

/// Logs and counts why the consumer starts again.
fn report<C: Consumer>(error: &ConsumeError, wait: std::time::Duration) {
    let consumer = C::NAME;
    let cause = match error {
        ConsumeError::Fenced => {
            tracing::debug!(consumer, %error, ?wait, "consumer fenced, restarting");
            "fenced"
        }
        ConsumeError::Panicked(_) => {
            tracing::error!(consumer, %error, ?wait, "consumer panicked, restarting");
            "panic"
        }
        ConsumeError::Log(_)
        | ConsumeError::Database(_)
        | ConsumeError::Append(_)
        | ConsumeError::NewerBuild(_)
        | ConsumeError::Failed(_) => {
            let error = ErrorChain(error);
            tracing::warn!(consumer, %error, ?wait, "consumer failed, restarting");
            "error"
        }
    };
    let name = "tributary_consumer_restarts_total";
    metrics::counter!(name, "consumer" => consumer, "cause" => cause).increment(1);
}

async fn follow<C: Consumer>(
    consumer: &mut C,
    store: &EventStore,
    feed: &Feed,
    owner: Uuid,
    after_crash: bool,
) -> Result<Infallible, ConsumeError> {
    while !holds_lease::<C>(store, owner).await? {
        sleep(C::HEARTBEAT).await;
    }
    consumer.connect().await?;
    if !holds_lease::<C>(store, owner).await? {
        return Err(ConsumeError::Fenced);
    }
    let mut runner = Runner::begin(consumer, store, after_crash).await?;
    let mut subscription = feed.subscribe(runner.position(), runner.consumer.filter());
    let mut heartbeat = interval_at(Instant::now() + C::HEARTBEAT, C::HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let batch = tokio::select! {
            biased;
            _ = heartbeat.tick() => {
                if !holds_lease::<C>(store, owner).await? {
                    return Err(ConsumeError::Fenced);
                }
                runner.heartbeat().await?;
                continue;
            }
            batch = subscription.next(C::BATCH_EVENTS) => batch?,
            idle = runner.consumer.idle() => {
                idle?;
                continue;
            }
        };
        let begun = Instant::now();
        fault::point("consumer", C::NAME);
        runner.apply(&batch.events, batch.through).await?;
        if batch.events.len() < C::BATCH_EVENTS {
            sleep_until(begun + C::PACE).await;
        }
    }
}

/// Takes or extends the consumer's lease, if it has one. False while another process holds it.
async fn holds_lease<C: Consumer>(store: &EventStore, owner: Uuid) -> Result<bool, ConsumeError> {
    match C::LEASE {
        Some(time) => Ok(store.take_lease(C::NAME, owner, time).await?),
        None => Ok(true),
    }
}
