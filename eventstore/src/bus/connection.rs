//! The connection to NATS, and announcements of the log's head.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, ClientError, Event, Subscriber};
use eventsourcing::Position;
use futures::StreamExt;
use tokio::sync::watch;
use uuid::Uuid;

use crate::bus::access::{BusAccess, connect_options};
use crate::bus::error::{BusError, connection_failure};
use crate::bus::subjects::HEAD_SUBJECT;
use crate::retry_log::RetryLog;

/// Longest time of a request to the JetStream API.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of pings; after about three without an answer the connection counts as lost, which is
/// how readiness and the relay notice a server that is stopped.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Longest delay between two attempts to connect.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// Options of the stream `EVENTS`. `None` keeps the stream's own setting; a new stream has one
/// replica and no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct BusOptions {
    /// Number of servers of a cluster that store each message.
    pub replicas: Option<usize>,
    /// Largest size of the stream in bytes; the oldest messages beyond it are removed. 0: no limit.
    pub max_bytes: Option<i64>,
    /// Age after which messages are removed. Zero: no limit.
    pub max_age: Option<Duration>,
    /// The deployment whose stream is taken over: it is emptied, and filled from this log.
    pub take_over: Option<Uuid>,
}

/// The failed attempts to connect, of which there are two a second.
#[derive(Debug)]
struct Failures {
    log: RetryLog,
    /// What kind of error the last attempt failed with, without its cause.
    kind: Option<String>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { log: RetryLog::new("connection to NATS"), kind: None }
    }
}

impl Failures {
    /// Notes the failure before this attempt, if there was one. `causes` are those of the servers; a
    /// name that is not resolved has none.
    fn attempt(&mut self, mut causes: impl Iterator<Item = String>) {
        let Some(kind) = self.kind.take() else { return };
        let cause = causes.find(|cause| cause.starts_with(&kind)).unwrap_or(kind);
        self.log.note(Err(connection_failure(&cause)));
    }
}

/// A connection to NATS. Clones share it.
#[derive(Debug, Clone)]
pub struct Bus {
    pub(super) client: Client,
    pub(super) jetstream: Context,
    pub(super) options: BusOptions,
    connected: watch::Receiver<bool>,
}

impl Bus {
    /// Connects with the default options; see [`Bus::open`].
    pub async fn connect(url: &str) -> Result<Self, BusError> {
        Self::open(&url.into(), BusOptions::default()).await
    }

    /// Connects to the servers that `access` names.
    ///
    /// Returns without waiting for the connection, and reconnects for ever. Fails only if the URL,
    /// the credentials or the options are invalid.
    pub async fn open(access: &BusAccess, options: BusOptions) -> Result<Self, BusError> {
        let (servers, account) = connect_options(access)?;
        let (up, connected) = watch::channel(false);
        let failures = Arc::new(Mutex::new(Failures::default()));
        let (attempts, events) = (Arc::clone(&failures), failures);
        let client = account
            .name("tributary")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                let doubled = 10_u64.saturating_mul(1 << attempts.min(10));
                Duration::from_millis(doubled).min(RECONNECT_DELAY)
            })
            .ping_interval(PING_INTERVAL)
            .request_timeout(Some(REQUEST_TIMEOUT))
            // Called before each attempt; the default choice of a server stays.
            .reconnect_to_server_callback(move |servers, _| {
                let mut failures = attempts.lock().unwrap_or_else(PoisonError::into_inner);
                failures.attempt(servers.into_iter().filter_map(|server| server.last_error));
                std::future::ready(None)
            })
            .event_callback(move |event| {
                let mut failures = events.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Event::Connected => {
                        up.send_replace(true);
                        failures.kind = None;
                        failures.log.note(Ok(()));
                    }
                    Event::ClientError(ClientError::Other(kind)) => failures.kind = Some(kind),
                    Event::ClientError(error) => failures.log.note(Err(error.to_string())),
                    Event::Disconnected | Event::Closed => drop(up.send_replace(false)),
                    Event::LameDuckMode
                    | Event::Draining
                    | Event::SlowConsumer(_)
                    | Event::ServerError(_) => tracing::warn!(%event, "NATS client event"),
                }
                std::future::ready(())
            })
            .connect(servers)
            .await
            .map_err(BusError::Connect)?;
        let jetstream = ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client.clone());
        Ok(Self { client, jetstream, options, connected })
    }

    /// Returns the NATS client, for subjects other than the log's.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the JetStream API, for streams other than the log's.
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// Returns the deployment whose streams are taken over.
    pub fn take_over(&self) -> Option<Uuid> {
        self.options.take_over
    }

    /// Watches whether the client is connected. After any change, even back to connected, messages
    /// under way may be lost.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Announces that the log is committed up to `position`. Does nothing while disconnected, since
    /// a late announcement is worthless.
    pub async fn announce(&self, position: Position) -> Result<(), BusError> {
        if self.client.connection_state() != State::Connected {
            return Ok(());
        }
        let body = position.to_string().into();
        let sent = self.client.publish(HEAD_SUBJECT, body).await;
        sent.map_err(BusError::Publish)
    }

    /// Subscribes to the announcements of all processes, including this one.
    pub async fn heads(&self) -> Result<Heads, BusError> {
        let subscriber = self.client.subscribe(HEAD_SUBJECT).await;
        subscriber.map(Heads).map_err(BusError::Subscribe)
    }
}

/// Announced heads of the log. Any NATS client may publish them, so they may be wrong.
#[derive(Debug)]
pub struct Heads(Subscriber);

impl Heads {
    /// Returns the next announcement, or none after the connection was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Position> {
        loop {
            let message = self.0.next().await?;
            let text = std::str::from_utf8(&message.payload).unwrap_or_default();
            if let Ok(position) = text.parse() {
                return Some(Position(position));
            }
        }
    }
}
