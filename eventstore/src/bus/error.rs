//! Errors of the bus.

use async_nats::jetstream::consumer::pull::BatchError;
use async_nats::jetstream::context::{CreateStreamError, GetStreamError, UpdateStreamError};
use async_nats::jetstream::stream::{ConsumerError, PurgeError, RawMessageError};

use crate::bus::owner::Owner;
use crate::bus::subjects::STREAM;
use crate::tls_fault::TlsFault;

/// Returns what a failed attempt to connect to NATS means and what to do, followed by the cause.
pub fn connection_failure(cause: &str) -> String {
    let lower = cause.to_ascii_lowercase();
    let advice = match TlsFault::of(cause) {
        Some(TlsFault::UnknownIssuer) => {
            "the certificate of NATS was issued by an unknown CA: set --nats-ca-file to the \
             certificates of that CA"
        }
        Some(TlsFault::OtherName) => {
            "the certificate of NATS is for another host name: use one of its names in --nats-url"
        }
        Some(TlsFault::Certificate) => "the certificate of NATS is not valid: renew it",
        Some(TlsFault::ClientCertificate) => {
            "NATS demands a client certificate of a CA that it trusts: set --nats-cert-file and \
             --nats-key-file"
        }
        Some(TlsFault::NotOffered) => {
            "NATS does not offer TLS: enable TLS on the server, or use nats:// in --nats-url \
             without --nats-require-tls"
        }
        None if lower.contains("authorization violation") || lower.contains("authentication") => {
            "NATS refused the account, or demands one: check --nats-username with --nats-password, \
             --nats-token, --nats-creds-file, or the account in --nats-url"
        }
        None if lower.contains("signing nonce") => {
            "the credentials for NATS cannot be used: check --nats-creds-file"
        }
        None => "cannot connect to NATS: check that it runs, and --nats-url",
    };
    format!("{advice}: {cause}")
}

/// Why an operation on NATS failed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The URL is invalid.
    #[error("invalid NATS URL; expected nats://host:port, several separated by commas")]
    Url(#[source] std::io::Error),
    /// The credentials are invalid.
    #[error(
        "invalid credentials for NATS: --nats-creds-file must contain a user JWT and its NKey seed, \
         or the NKey seed of a user alone"
    )]
    Credentials(#[source] std::io::Error),
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
    /// The consumer cannot fetch messages.
    #[error("cannot fetch messages of stream {STREAM}")]
    Batch(#[source] BatchError),
    /// A fetched message did not arrive.
    #[error("a fetched message of stream {STREAM} did not arrive")]
    Receive(#[source] async_nats::Error),
    /// The stream belongs to another deployment.
    #[error(
        "stream {stream} belongs to {theirs}; this is {ours}, which does not use it; give each \
         deployment a NATS account or server of its own, or let this one take the stream over with \
         --nats-take-over {}", .theirs.deployment
    )]
    Owned {
        /// Name of the stream.
        stream: String,
        /// The owner that the stream names.
        theirs: Owner,
        /// Who refuses the stream.
        ours: Owner,
    },
    /// The stream belongs to a later epoch of the deployment.
    #[error(
        "stream {stream} belongs to {theirs}; this is {ours}, an older copy of the log, which does \
         not use the stream; after a restore, run `tributary migrate --after-restore` until the \
         epoch is at least that of the stream"
    )]
    LaterEpoch {
        /// Name of the stream.
        stream: String,
        /// The owner that the stream names.
        theirs: Owner,
        /// Who refuses the stream.
        ours: Owner,
    },
    /// The stream names no owner and holds messages that are not of this log.
    #[error(
        "stream {STREAM} names no owner and holds no event of this log ({0}), which does not use \
         it; delete the stream if its messages are not needed"
    )]
    Unowned(Owner),
    /// The stream exists with a configuration that the log cannot be published to.
    #[error(
        "stream {STREAM} exists with other subjects, retention or acknowledgements, or is sealed; \
         delete it and let the relay create it"
    )]
    Unusable,
}
