//! The way to NATS: one connection for the process, the JetStream stream `EVENTS`, and the
//! wake-up `log.head`. Nothing here is a truth; every message can be made again from the log.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{
    CreateStreamError, GetStreamError, GetStreamErrorKind, UpdateStreamError,
};
use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, Info, PurgeError, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{Context, ContextBuilder, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use eventsourcing::Position;
use futures::StreamExt;
use tokio::sync::watch;

pub(crate) mod message;
pub(crate) mod replay;

/// The stream that carries the log.
pub const STREAM: &str = "EVENTS";
/// What it listens to: `events.{context}.{category}.{key}.{event_type}`.
pub const SUBJECTS: &str = "events.>";
/// Core NATS: the last committed position, in decimal.
pub const HEAD_SUBJECT: &str = "log.head";

/// How long the server remembers message ids. Order does not need it, for every message names the
/// sequence before it; it only tells "somebody published this before me" from an error.
pub(crate) const DUPLICATE_WINDOW: Duration = Duration::from_secs(2);
/// How long a request to the JetStream API may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that answers no ping for about three of these is gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Longest wait between two attempts to connect.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// How the stream is kept. What is `None` is left as the stream has it; a new stream is unlimited.
#[derive(Debug, Clone)]
pub struct BusOptions {
    /// Servers of a cluster that hold each message.
    pub replicas: usize,
    /// The stream forgets its oldest messages beyond this size.
    pub max_bytes: Option<i64>,
    /// The stream forgets messages older than this.
    pub max_age: Option<Duration>,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self { replicas: 1, max_bytes: None, max_age: None }
    }
}

/// A connection to NATS; clones share it.
#[derive(Debug, Clone)]
pub struct Bus {
    client: Client,
    jetstream: Context,
    options: BusOptions,
    connected: watch::Receiver<bool>,
}

impl Bus {
    /// [`Bus::open`] with the default options.
    pub async fn connect(url: &str) -> Result<Self, BusError> {
        Self::open(url, BusOptions::default()).await
    }

    /// Connects to the server at `url` (several, of one cluster, separated by commas). Does not
    /// wait for it: it is tried for ever, now and after each loss.
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
                    | Event::ClientError(_) => tracing::warn!(%event, "nats"),
                }
                std::future::ready(())
            })
            .connect(servers)
            .await
            .map_err(BusError::Connect)?;
        let jetstream = ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client.clone());
        Ok(Self { client, jetstream, options, connected })
    }

    /// The connection, for subjects that are not the log's.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The JetStream API, for streams that are not the log's.
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// Whether the server is there. Any change, even back to what it was, means that what was
    /// under way may be lost.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Tells everybody that the log is committed up to `position`. Does nothing while NATS is away:
    /// an old wake-up is worth nothing.
    pub async fn announce(&self, position: Position) -> Result<(), BusError> {
        if self.client.connection_state() != State::Connected {
            return Ok(());
        }
        let body = position.to_string().into();
        let sent = self.client.publish(HEAD_SUBJECT, body).await;
        sent.map_err(BusError::Publish)
    }

    /// The announcements of all processes, this one's too.
    pub async fn heads(&self) -> Result<Heads, BusError> {
        let subscriber = self.client.subscribe(HEAD_SUBJECT).await;
        subscriber.map(Heads).map_err(BusError::Subscribe)
    }

    /// What the stream is now, or none if there is no stream.
    pub(crate) async fn stream_info(&self) -> Result<Option<Info>, BusError> {
        match self.jetstream.get_stream(STREAM).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(BusError::Info(error)),
        }
    }

    /// Makes the stream if it is missing, corrects its configuration if it differs, and reads it
    /// back: an old server ignores what it does not know.
    pub async fn ensure_stream(&self) -> Result<Info, BusError> {
        let info = if let Some(info) = self.stream_info().await? {
            self.correct(info).await?
        } else {
            let wanted = self.wanted(Config::default());
            let created = self.jetstream.create_stream(wanted).await;
            let stream = created.map_err(BusError::Create)?;
            stream.cached_info().clone()
        };
        check(&info.config, &self.wanted(info.config.clone()))?;
        Ok(info)
    }

    async fn correct(&self, info: Info) -> Result<Info, BusError> {
        let wanted = self.wanted(info.config.clone());
        if !differs(&info.config, &wanted) {
            return Ok(info);
        }
        let updated = self.jetstream.update_stream(&wanted).await;
        updated.map_err(BusError::Update)
    }

    /// Writes down which server this is, and what of it is used.
    pub(crate) fn log_server(&self) {
        let server = self.client.server_info();
        let compression = self.compression().is_some();
        tracing::info!(
            version = %server.version, max_payload = server.max_payload, compression,
            "the bus is there"
        );
    }

    /// The configuration the log needs; the rest stays as it is in `config`.
    fn wanted(&self, config: Config) -> Config {
        let max_age = self.options.max_age.unwrap_or(config.max_age);
        let window = if max_age.is_zero() {
            DUPLICATE_WINDOW
        } else {
            DUPLICATE_WINDOW.min(max_age) // The server refuses a longer one.
        };
        Config {
            name: STREAM.to_owned(),
            description: Some("The log of Tributary; can be wiped, is refilled".to_owned()),
            subjects: vec![SUBJECTS.to_owned()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            num_replicas: self.options.replicas,
            max_bytes: self.options.max_bytes.unwrap_or(config.max_bytes),
            max_age,
            duplicate_window: window,
            no_ack: false,
            compression: self.compression(),
            ..config
        }
    }

    /// The one optional feature in use: servers from 2.10 on compress what they store.
    fn compression(&self) -> Option<Compression> {
        self.client.is_server_compatible(2, 10, 0).then_some(Compression::S2)
    }

    /// Empties the stream; sequences go on counting.
    pub(crate) async fn purge(&self) -> Result<(), BusError> {
        let stream = self.jetstream.get_stream(STREAM).await;
        let stream = stream.map_err(BusError::Info)?;
        stream.purge().await.map_err(BusError::Purge)?;
        Ok(())
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Whether a stream of this configuration has to be corrected. Zero and less all mean "no limit".
fn differs(is: &Config, wanted: &Config) -> bool {
    is.subjects != wanted.subjects
        || is.retention != wanted.retention
        || is.discard != wanted.discard
        || is.num_replicas != wanted.num_replicas
        || is.max_bytes.max(0) != wanted.max_bytes.max(0)
        || is.max_age != wanted.max_age
        || is.duplicate_window != wanted.duplicate_window
        || is.no_ack != wanted.no_ack
        || compresses(is) != compresses(wanted)
}

fn compresses(config: &Config) -> bool {
    config.compression == Some(Compression::S2)
}

/// What the relay cannot do without is an error; anything else that the server did not take is a
/// line in the journal.
fn check(is: &Config, wanted: &Config) -> Result<(), BusError> {
    let usable = is.subjects == wanted.subjects
        && is.retention == wanted.retention
        && is.discard == wanted.discard
        && !is.no_ack
        && !is.sealed;
    if !usable {
        return Err(BusError::Unusable);
    }
    if differs(is, wanted) || is.storage != wanted.storage {
        tracing::warn!(?is, ?wanted, "stream {STREAM} is not configured as asked");
    }
    Ok(())
}

/// Positions that others announced. A hint: anybody may publish there.
#[derive(Debug)]
pub struct Heads(Subscriber);

impl Heads {
    /// The next announcement; none when the connection was closed for good. Cancel-safe.
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

/// What went wrong between us and NATS.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("the address of the bus cannot be used")]
    Url(#[source] std::io::Error),
    #[error("the bus cannot be connected to")]
    Connect(#[source] async_nats::ConnectError),
    #[error("a message was not published")]
    Publish(#[source] async_nats::PublishError),
    #[error("a subject cannot be subscribed to")]
    Subscribe(#[source] async_nats::SubscribeError),
    #[error("stream {STREAM} cannot be looked at")]
    Info(#[source] GetStreamError),
    #[error("stream {STREAM} cannot be made")]
    Create(#[source] CreateStreamError),
    #[error("the configuration of stream {STREAM} cannot be corrected")]
    Update(#[source] UpdateStreamError),
    #[error("stream {STREAM} cannot be emptied")]
    Purge(#[source] PurgeError),
    #[error("a message of stream {STREAM} cannot be looked at")]
    Message(#[source] async_nats::jetstream::stream::RawMessageError),
    #[error("stream {STREAM} cannot be consumed")]
    Consumer(#[source] async_nats::jetstream::stream::ConsumerError),
    #[error("stream {STREAM} cannot be pulled from")]
    Pull(#[source] async_nats::jetstream::consumer::StreamError),
    #[error("stream {STREAM} exists and is not one the log can be published to")]
    Unusable,
}
