//! Errors of the bus.

use async_nats::jetstream::consumer::StreamError;
use async_nats::jetstream::context::{CreateStreamError, GetStreamError, UpdateStreamError};
use async_nats::jetstream::stream::{ConsumerError, PurgeError, RawMessageError};

use crate::bus::subjects::STREAM;

/// Why an operation on NATS failed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The URL is invalid.
    #[error("invalid NATS URL; expected nats://host:port, several separated by commas")]
    Url(#[source] std::io::Error),
    /// The connection cannot be set up.
    #[error("cannot connect to NATS")]
    Connect(#[source] async_nats::ConnectError),
    /// A message could not be published.
    #[error("cannot publish to NATS")]
    Publish(#[source] async_nats::PublishError),
    /// A subscription failed.
    #[error("cannot subscribe to a NATS subject")]
    Subscribe(#[source] async_nats::SubscribeError),
    /// The stream's state cannot be read.
    #[error("cannot read the state of stream {STREAM}")]
    Info(#[source] GetStreamError),
    /// The stream cannot be created.
    #[error("cannot create stream {STREAM}")]
    Create(#[source] CreateStreamError),
    /// The stream's configuration cannot be updated.
    #[error("cannot update the configuration of stream {STREAM}")]
    Update(#[source] UpdateStreamError),
    /// The stream cannot be purged.
    #[error("cannot purge stream {STREAM}")]
    Purge(#[source] PurgeError),
    /// A message cannot be read from the stream.
    #[error("cannot read a message of stream {STREAM}")]
    Message(#[source] RawMessageError),
    /// A consumer cannot be created on the stream.
    #[error("cannot create a consumer on stream {STREAM}")]
    Consumer(#[source] ConsumerError),
    /// The consumer cannot pull messages.
    #[error("cannot pull from stream {STREAM}")]
    Pull(#[source] StreamError),
    /// The stream exists with a configuration that the log cannot be published to.
    #[error(
        "stream {STREAM} exists with other subjects, retention or acknowledgements, or is sealed; \
         delete it and let the relay create it"
    )]
    Unusable,
}
