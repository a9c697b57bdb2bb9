//! The connection to NATS, and announcements of the log's head.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use eventsourcing::Position;
use futures::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::sync::watch;
use uuid::Uuid;

use crate::bus::error::BusError;
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

    /// Connects to the server at `url`, or to the servers of one cluster, separated by commas, with
    /// the account that the URL names; see [`connect_options`].
    ///
    /// Returns without waiting for the connection, and reconnects for ever. Fails only if the URL
    /// or the options are invalid.
    pub async fn open(url: &str, options: BusOptions) -> Result<Self, BusError> {
        let (servers, account) = connect_options(url)?;
        let (up, connected) = watch::channel(false);
        // Each attempt to connect fails, twice a second.
        let failures = Mutex::new(RetryLog::new("connection to NATS"));
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
            .event_callback(move |event| {
                let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Event::Connected => {
                        up.send_replace(true);
                        failures.note(Ok(()));
                    }
                    Event::ClientError(error) => failures.note(Err(error.to_string())),
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

/// Returns the servers in `url`, separated by commas, without their user and password, and the options
/// to connect as that account; the first server that names an account counts for all.
///
/// The client's inboxes begin with `_INBOX.{user}`, so that the server can permit each account its own
/// inboxes only. A user without a password is a token.
pub fn connect_options(url: &str) -> Result<(Vec<ServerAddr>, ConnectOptions), BusError> {
    let parsed = url.split(',').map(|server| server.trim().parse());
    let servers: Vec<ServerAddr> = parsed.collect::<Result<_, _>>().map_err(BusError::Url)?;
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|error| BusError::Url(std::io::Error::other(error)))
    };
    let mut options = ConnectOptions::new();
    if let Some(server) = servers.iter().find(|server| server.has_user_pass()) {
        let user = decoded(server.username().unwrap_or_default())?;
        options = match server.password() {
            None => options.token(user),
            Some(password) => {
                let inboxes = format!("_INBOX.{user}");
                options = options.user_and_password(user, decoded(password)?);
                if is_subject(&inboxes) { options.custom_inbox_prefix(inboxes) } else { options }
            }
        };
    }
    let servers = servers.into_iter().map(without_account).collect::<Result<_, _>>();
    Ok((servers.map_err(BusError::Url)?, options))
}

fn is_subject(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"*>".contains(&byte);
    text.split('.').all(|token| !token.is_empty() && token.bytes().all(plain))
}

/// Removes user and password, which the client would log with the address.
fn without_account(server: ServerAddr) -> Result<ServerAddr, std::io::Error> {
    let mut url = server.into_inner();
    // Fails only for addresses without a host, which have no user either.
    url.set_username("").and_then(|()| url.set_password(None)).ok();
    ServerAddr::from_url(url)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_of_a_url_is_used_and_not_shown() {
        let url = "nats://ada:p%40ss%2F%23@one:4222, nats://two";
        let (servers, options) = connect_options(url).unwrap();
        let servers: Vec<_> = servers.iter().map(ServerAddr::as_url_str).collect();
        assert_eq!(servers, ["nats://one:4222", "nats://two"]);
        let shown = format!("{options:?}");
        assert!(shown.contains("_INBOX.ada") && !shown.contains("p@ss/#"), "{shown}");
        for plain in ["nats://one", "nats://token@one", "nats://a*b:p@one", "nats://a%20b:p@one"] {
            let shown = format!("{:?}", connect_options(plain).unwrap().1);
            assert!(!shown.contains("_INBOX."), "{shown}");
        }
        assert!(connect_options("nats://ada:p@one,http://two").is_err());
    }
}
