//! The JetStream stream `EVENTS`: its configuration and its state.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, Info, RetentionPolicy, StorageType,
};

use crate::bus::connection::Bus;
use crate::bus::error::BusError;
use crate::bus::subjects::{STREAM, SUBJECTS};

/// How long the server remembers message ids. The order does not depend on it, since every message
/// names the sequence before it; it distinguishes a message of another relay from an error.
pub(crate) const DUPLICATE_WINDOW: Duration = Duration::from_secs(2);

impl Bus {
    /// Returns the state of the stream, or none if it does not exist.
    pub(crate) async fn stream_info(&self) -> Result<Option<Info>, BusError> {
        match self.jetstream.get_stream(STREAM).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(BusError::Info(error)),
        }
    }

    /// Creates the stream if it does not exist and updates its configuration if it differs. Returns
    /// the state that the server reports, since old servers ignore settings they do not know.
    pub async fn ensure_stream(&self) -> Result<Info, BusError> {
        let info = if let Some(info) = self.stream_info().await? {
            self.update(info).await?
        } else {
            let created = self.jetstream.create_stream(self.configure(Config::default())).await;
            created.map_err(BusError::Create)?.cached_info().clone()
        };
        check(&info.config, &self.configure(info.config.clone()))?;
        Ok(info)
    }

    async fn update(&self, info: Info) -> Result<Info, BusError> {
        let wanted = self.configure(info.config.clone());
        if !differs(&info.config, &wanted) {
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
    fn configure(&self, config: Config) -> Config {
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

/// Returns whether a stream's configuration must be updated. Zero and below mean no limit.
fn differs(actual: &Config, wanted: &Config) -> bool {
    actual.subjects != wanted.subjects
        || actual.retention != wanted.retention
        || actual.discard != wanted.discard
        || actual.num_replicas != wanted.num_replicas
        || actual.max_bytes.max(0) != wanted.max_bytes.max(0)
        || actual.max_age != wanted.max_age
        || actual.duplicate_window != wanted.duplicate_window
        || actual.no_ack != wanted.no_ack
        || compresses(actual) != compresses(wanted)
}

fn compresses(config: &Config) -> bool {
    config.compression == Some(Compression::S2)
}

/// Fails if the relay cannot work with the configuration; logs other differences.
fn check(actual: &Config, wanted: &Config) -> Result<(), BusError> {
    let usable = actual.subjects == wanted.subjects
        && actual.retention == wanted.retention
        && actual.discard == wanted.discard
        && !actual.no_ack
        && !actual.sealed;
    if !usable {
        return Err(BusError::Unusable);
    }
    if differs(actual, wanted) || actual.storage != wanted.storage {
        tracing::warn!(?actual, ?wanted, "stream {STREAM} is not configured as requested");
    }
    Ok(())
}
