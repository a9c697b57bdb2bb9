//! Publishes alerts to devices: each change of an alert goes to
//! `users/{user_id}/devices/{device_id}/alerts` at `QoS` 1.
//!
//! A consumer whose checkpoint advances when the broker has acknowledged. After a crash some
//! messages are published again, with the same id and position. One process publishes at a time.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use domain::alerts::Alert;
use eventsourcing::Decider;
use eventstore::{Checkpoint, EventStore, Feed, Filter, Unavailable};
use mqtt::{Client, ConnectionError, Dialer, Event, Options};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::alert_message::AlertMessage;
use super::error::Error;

/// Events of a batch, and messages that the broker has not acknowledged, at most.
const WINDOW: u16 = 256;
/// Interval of renewing the lease and of the heartbeat.
const PULSE: Duration = Duration::from_secs(1);
/// Time after which another process takes over from one that died.
const LEASE: Duration = Duration::from_secs(5);
/// Time for the broker to acknowledge a batch.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes changes of alerts.
pub(crate) struct Publisher {
    pub(crate) store: EventStore,
    pub(crate) feed: Feed,
    owner: Uuid,
}

/// Why publishing restarts.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Mqtt(#[from] ConnectionError),
    #[error(transparent)]
    Log(#[from] Unavailable),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("another publisher has taken over")]
    Fenced,
}

impl Publisher {
    /// Name of the consumer, and of the publisher's lease.
    pub(crate) const NAME: &'static str = "alert_mqtt";

    pub(crate) fn new(store: EventStore, feed: Feed) -> Self {
        Self { store, feed, owner: Uuid::now_v7() }
    }

    /// Publishes until `shutdown`, whenever no other process does.
    pub(crate) async fn run(
        &self,
        broker: Options,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let mut dialer = Dialer::new(Options {
            client_id: format!("{}-alerts", broker.client_id),
            topic_filters: Vec::new(),
            unsubscribe_filters: Vec::new(),
            publish_window: WINDOW,
            session_expiry: Duration::ZERO, // The checkpoint is all the state there is.
            ..broker
        })
        .await?;
        loop {
            let started = Instant::now();
            let ended = match shutdown.run_until_cancelled(self.publish(&dialer)).await {
                None => break,
                Some(Ok(never)) => match never {},
                Some(Err(error)) => error,
            };
            let pause = match &ended {
                Interrupted::Mqtt(error) => dialer.wait(error, started.elapsed()),
                error => {
                    tracing::warn!(%error, "alert publisher failed, retrying");
                    PULSE
                }
            };
            shutdown.run_until_cancelled(sleep(pause)).await;
        }
        if let Err(error) = self.store.release_lease(Self::NAME, self.owner).await {
            tracing::debug!(%error, "alert publisher's lease not released, it expires");
        }
        Ok(())
    }

    async fn publish(&self, dialer: &Dialer) -> Result<Infallible, Interrupted> {
        while !self.store.take_lease(Self::NAME, self.owner, LEASE).await? {
            sleep(PULSE).await;
        }
        let mut client: Client<Bytes> = dialer.connect().await?;
        let mut position = self.store.start_consumer(Self::NAME).await?.position;
        let mut subscription =
            self.feed.subscribe(position, Filter::categories(&[Alert::CATEGORY]));
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = pulse.tick() => {
                    if !self.store.take_lease(Self::NAME, self.owner, LEASE).await? {
                        return Err(Interrupted::Fenced);
                    }
                    self.store.heartbeat(Self::NAME).await?;
                }
                event = client.next() => idle(&event?)?,
                batch = subscription.next(usize::from(WINDOW)) => {
                    let batch = batch?;
                    let messages: Vec<_> =
                        batch.events.iter().filter_map(|event| AlertMessage::of(event)).collect();
                    timeout(ACK_TIMEOUT, client.publish_all(messages))
                        .await
                        .map_err(|_elapsed| ConnectionError::Timeout)??;
                    let last = batch.events.last().map(|event| event.recorded_at);
                    let mut transaction = self.store.pool().begin().await?;
                    let name = Self::NAME;
                    let (from, to) = (position, batch.through);
                    if !Checkpoint::advance(&mut transaction, name, from, to, last).await? {
                        return Err(Interrupted::Fenced);
                    }
                    transaction.commit().await?;
                    position = batch.through;
                }
            }
        }
    }
}

/// Nothing but keep-alive is expected between batches.
fn idle(event: &Event<Bytes>) -> Result<(), ConnectionError> {
    match event {
        Event::Writable => Ok(()),
        _ => Err(ConnectionError::unexpected_packet()),
    }
}
