//! The connection to NATS, and announcements of the log's head.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use eventsourcing::Position;
use futures::StreamExt;
use tokio::sync::watch;

use crate::bus::error::BusError;
use crate::bus::subjects::HEAD_SUBJECT;

/// Longest time of a request to the JetStream API.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of pings; after about three without an answer the connection counts as lost.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Longest delay between two attempts to connect.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// Options of the stream `EVENTS`. `None` keeps the stream's own setting; a new stream has no limit.
#[derive(Debug, Clone)]
pub struct BusOptions {
    /// Number of servers of a cluster that store each message.
    pub replicas: usize,
    /// Largest size of the stream in bytes; the oldest messages beyond it are removed.
    pub max_bytes: Option<i64>,
    /// Age after which messages are removed.
    pub max_age: Option<Duration>,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self { replicas: 1, max_bytes: None, max_age: None }
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
        Self::open(url, BusOptions::default()).await
    }

    /// Connects to the server at `url`, or to the servers of one cluster, separated by commas.
    ///
    /// Returns without waiting for the connection, and reconnects for ever. Fails only if the URL
    /// or the options are invalid.
    pub async fn open(url: &str, options: BusOptions) -> Result<Self, BusError> {
        let servers = url
            .split(',')
            .map(|server| server.trim().parse())
            .collect::<Result<Vec<ServerAddr>, _>>()
            .map_err(BusError::Url)?;
        let (up, connected) = watch::channel(false);
        let client = ConnectOptions::new()
            .name("tributary")
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                let doubled = 10_u64.saturating_mul(1 << attempts.min(10));
                Duration::from_millis(doubled).min(RECONNECT_DELAY)
            })
            .ping_interval(PING_INTERVAL)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .event_callback(move |event| {
                match event {
                    Event::Connected => drop(up.send_replace(true)),
                    Event::Disconnected | Event::Closed => drop(up.send_replace(false)),
                    Event::LameDuckMode
                    | Event::Draining
                    | Event::SlowConsumer(_)
                    | Event::ServerError(_)
                    | Event::ClientError(_) => tracing::warn!(%event, "NATS client event"),
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
