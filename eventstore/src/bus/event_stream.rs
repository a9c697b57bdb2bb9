//! The JetStream stream `EVENTS`: its configuration and its state.

use std::fmt::Debug;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy,
};
use eventsourcing::Position;

use crate::bus::connection::Bus;
use crate::bus::error::BusError;
use crate::bus::message;
use crate::bus::owner::Owner;
use crate::bus::subjects::{STREAM, SUBJECTS};

/// How long the server remembers message ids. The order does not depend on it, since every message
/// names the sequence before it; it distinguishes a message of another relay from an error.
pub(crate) const DUPLICATE_WINDOW: Duration = Duration::from_secs(2);

/// The end of the stream `EVENTS`, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// Sequence of the last message.
    pub last_sequence: u64,
    /// Position of the event that the last message carries; none if there is no such message, or if
    /// it is that of another program.
    pub last_position: Option<Position>,
    /// Number of messages.
    pub messages: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Bus {
    /// Returns what the stream holds, or none if it does not exist.
    pub async fn stream_state(&self) -> Result<Option<StreamState>, BusError> {
        let Some(Info { state, .. }) = self.stream_info().await? else { return Ok(None) };
        let last_sequence = state.last_sequence;
        let mut last_position = None;
        if state.messages > 0 {
            let stream = self.jetstream.get_stream_no_info(STREAM).await.map_err(BusError::Info)?;
            match stream.get_raw_message(last_sequence).await {
                Ok(message) => last_position = message::position(&message.headers),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(BusError::Message(error)),
            }
        }
        let (messages, bytes) = (state.messages, state.bytes);
        Ok(Some(StreamState { last_sequence, last_position, messages, bytes }))
    }

    /// Returns the state of the stream, or none if it does not exist.
    pub async fn stream_info(&self) -> Result<Option<Info>, BusError> {
        match self.jetstream.get_stream(STREAM).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(BusError::Info(error)),
        }
    }

    /// Creates the stream if it does not exist and updates its configuration if it differs; `owner`
    /// must have a claim to it. Returns the state that the server reports, since old servers ignore
    /// settings they do not know, and what is configured otherwise than requested.
    pub async fn ensure_stream(&self, owner: Owner) -> Result<(Info, Vec<String>), BusError> {
        let info = if let Some(info) = self.stream_info().await? {
            self.update(info, owner).await?
        } else {
            let config = self.configure(Config::default(), owner);
            let created = self.jetstream.create_stream(config).await;
            created.map_err(BusError::Create)?.cached_info().clone()
        };
        if !is_usable(&info.config) {
            return Err(BusError::Unusable);
        }
        let wanted = self.configure(info.config.clone(), owner);
        let differing = differences(&info.config, &wanted);
        Ok((info, differing))
    }

    async fn update(&self, info: Info, owner: Owner) -> Result<Info, BusError> {
        let wanted = self.configure(info.config.clone(), owner);
        if differences(&info.config, &wanted).is_empty() {
            return Ok(info);
        }
        let updated = self.jetstream.update_stream(&wanted).await;
        updated.map_err(BusError::Update)
    }

    /// Logs the version and the features of the server.
    pub(crate) fn log_server(&self) {
        let server = self.client.server_info();
        let compression = self.compression().is_some();
        tracing::info!(
            version = %server.version, max_payload = server.max_payload, compression,
            "connected to NATS"
        );
    }

    /// Returns `config` with the settings that the log needs.
    fn configure(&self, config: Config, owner: Owner) -> Config {
        let max_age = self.options.max_age.unwrap_or(config.max_age);
        let window = if max_age.is_zero() {
            DUPLICATE_WINDOW
        } else {
            DUPLICATE_WINDOW.min(max_age) // The server refuses a longer one.
        };
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![SUBJECTS.to_owned()],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            num_replicas: self.options.replicas.unwrap_or(config.num_replicas.max(1)),
            max_bytes: self.options.max_bytes.unwrap_or(config.max_bytes),
            max_age,
            duplicate_window: window,
            no_ack: false,
            compression: self.compression(),
            ..config
        };
        owner.mark(config, "The log of Tributary, which the relay refills after a loss")
    }

    /// Returns the compression to store messages with; servers before 2.10 have none.
    fn compression(&self) -> Option<Compression> {
        self.client.is_server_compatible(2, 10, 0).then_some(Compression::S2)
    }

    /// Deletes all messages of the stream. Sequences continue.
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

/// Returns whether a limit of the stream may have removed its oldest messages.
pub(crate) fn is_limited(config: &Config) -> bool {
    config.max_bytes > 0
        || config.max_messages > 0
        || config.max_messages_per_subject > 0
        || !config.max_age.is_zero()
}

/// Returns whether the log can be published to a stream with this configuration.
pub(crate) fn is_usable(config: &Config) -> bool {
    config.subjects == [SUBJECTS]
        && config.retention == RetentionPolicy::Limits
        && config.discard == DiscardPolicy::Old
        && !config.no_ack
        && !config.sealed
}

/// Returns what differs between two configurations, in words. Zero and below mean no limit.
fn differences(actual: &Config, wanted: &Config) -> Vec<String> {
    let compressed = |config: &Config| config.compression == Some(Compression::S2);
    [
        difference("the subjects", &actual.subjects, &wanted.subjects),
        difference("the retention", &actual.retention, &wanted.retention),
        difference("the discard policy", &actual.discard, &wanted.discard),
        difference("the number of replicas", &actual.num_replicas, &wanted.num_replicas),
        difference("max_bytes", &actual.max_bytes.max(0), &wanted.max_bytes.max(0)),
        difference("max_age", &actual.max_age, &wanted.max_age),
        difference("duplicate_window", &actual.duplicate_window, &wanted.duplicate_window),
        difference("no_ack", &actual.no_ack, &wanted.no_ack),
        difference("compression", &compressed(actual), &compressed(wanted)),
        difference("the owner", &Owner::of(actual), &Owner::of(wanted)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn difference<T: PartialEq + Debug>(name: &str, actual: &T, wanted: &T) -> Option<String> {
    (actual != wanted).then(|| format!("{name} is {actual:?}, not {wanted:?}"))
}
