//! Publishes alerts to devices: each change of an alert goes to
//! `users/{user_id}/devices/{device_id}/alerts` at `QoS` 1.
//!
//! A consumer whose checkpoint advances when the broker has acknowledged. After a crash some
//! messages are published again, with the same id and position. One process publishes at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::alerts::{Alert, alert};
use eventsourcing::{Decider, Position};
use eventstore::consume::{ConsumeError, Consumer, Failed, Session};
use eventstore::parked::Parked;
use eventstore::{EventStore, Filter, RawEvent};
use mqtt::{Client, ConnectionError, Dialer, Event, Options, OptionsError};
use tokio::time::{Instant, sleep, timeout};

use super::alert_message::AlertMessage;

/// Messages that the broker has not acknowledged, at most.
const WINDOW: u16 = 256;
/// Time for the broker to acknowledge a batch.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes changes of alerts.
pub(crate) struct Publisher {
    dialer: Dialer,
    /// None until the first connection.
    client: Option<Client<Bytes>>,
}

impl Publisher {
    /// Makes a publisher with a client id of its own, derived from that of `broker`.
    pub(crate) async fn new(broker: Options) -> Result<Self, OptionsError> {
        let dialer = Dialer::new(Options {
            client_id: format!("{}-alerts", broker.client_id),
            topic_filters: Vec::new(),
            unsubscribe_filters: Vec::new(),
            publish_window: WINDOW,
            session_expiry: Duration::ZERO, // The checkpoint is all the state there is.
            ..broker
        })
        .await?;
        Ok(Self { dialer, client: None })
    }

    fn client(&mut self) -> Result<&mut Client<Bytes>, ConsumeError> {
        self.client.as_mut().ok_or_else(|| ConsumeError::failed(ConnectionError::Closed))
    }
}

impl Consumer for Publisher {
    const NAME: &'static str = "alert_mqtt";
    const BATCH_EVENTS: usize = WINDOW as usize;
    const HEARTBEAT: Duration = Duration::from_secs(1);
    const LEASE: Option<Duration> = Some(Duration::from_secs(5));

    fn filter(&self) -> Filter {
        Filter::categories(&[Alert::CATEGORY])
    }

    fn knows(&self, event: &RawEvent) -> bool {
        event.is_known::<alert::Event>()
    }

    async fn connect(&mut self) -> Result<(), ConsumeError> {
        self.client = None; // The broker ends the old connection of a client id at a new one.
        loop {
            let started = Instant::now();
            match self.dialer.connect().await {
                Ok(client) => {
                    self.client = Some(client);
                    return Ok(());
                }
                Err(error) => sleep(self.dialer.wait(&error, started.elapsed())).await,
            }
        }
    }

    async fn open(&mut self, store: &EventStore, _: Position) -> Result<Session, ConsumeError> {
        Ok(Session::Pool(store.pool().clone()))
    }

    /// Keeps the connection alive; nothing else is expected between batches.
    async fn idle(&mut self) -> Result<(), ConsumeError> {
        loop {
            match self.client()?.next().await.map_err(ConsumeError::failed)? {
                Event::Writable => {}
                _ => return Err(ConsumeError::failed(ConnectionError::unexpected_packet())),
            }
        }
    }

    async fn handle(
        &mut self,
        events: &[Arc<RawEvent>],
        _: &Parked,
    ) -> Result<Vec<Failed>, ConsumeError> {
        let mut messages = Vec::new();
        let mut failed: Vec<Failed> = Vec::new();
        for event in events {
            if failed.iter().any(|failed| failed.key == event.stream) {
                continue;
            }
            match AlertMessage::of(event) {
                Ok(message) => messages.extend(message),
                Err(error) => failed.push(Failed::undecodable(event, &error)),
            }
        }
        timeout(ACK_TIMEOUT, self.client()?.publish_all(messages))
            .await
            .unwrap_or(Err(ConnectionError::Timeout))
            .map_err(ConsumeError::failed)?;
        Ok(failed)
    }
}
