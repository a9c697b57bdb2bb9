//! The one way a command becomes events: load the stream, fold it, ask the decider, append on the
//! condition that nothing has happened since; if something has, start again.

use std::hash::{DefaultHasher, Hash, Hasher};

use eventsourcing::{Decider, Kind, Metadata, Position, Reject, StreamId, Version};
use eventstore::{
    Append, AppendError, Appended, EventStore, ExpectedVersion, NewEvent, NewReceipt, Receipt,
    StreamAppend, Unavailable, otel, otel_span,
};
use quick_cache::sync::Cache;
use tokio::sync::Mutex;
use tracing::{Instrument, Span};

/// States kept in memory, by stream. The next command to the stream need not load it.
const CACHED_STREAMS: usize = 16_384;
/// How often a command is decided anew because others wrote to its stream in between.
const MAX_ATTEMPTS: usize = 16;
/// Lines to wait in; streams that share one wait for each other, which only costs time.
const STREAM_LOCKS: usize = 64;
/// Events loaded at once.
const PAGE_EVENTS: usize = 1_000;

/// What comes with a command from outside.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    pub metadata: Metadata,
    /// Asked for with an idempotency key: the answer to keep.
    pub receipt: Option<NewReceipt>,
    /// The version the caller believes the stream to be at; another one refuses the command.
    pub expected: Option<Version>,
    /// Other streams the decision rests on: written with it, or only checked. All or nothing.
    pub also: Vec<StreamAppend>,
}

/// A command that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Of the last event of its stream: wait for this one to see what the command did.
    pub position: Position,
    pub version: Version,
    /// The same command was accepted before; this was its answer.
    pub replayed: Option<Receipt>,
}

/// Why a command was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error<R: Reject> {
    #[error(transparent)]
    Rejected(R),
    #[error("the idempotency key was used before, for another request")]
    KeyReused,
    #[error("others keep writing to stream {0}")]
    Contention(StreamId),
    /// One of [`Envelope::also`] is not as it was expected.
    #[error("stream {0} is not what the decision rested on")]
    Conflict(StreamId),
    #[error("the version is {actual}, not the one the command was made for")]
    OtherVersion { actual: Version },
    #[error("{0}")]
    BadData(String),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the process is shutting down")]
    ShuttingDown,
    /// The stream holds something this build cannot read or write.
    #[error("the stream cannot be read or written by this build")]
    Codec(#[from] eventsourcing::event::CodecError),
}

impl<R: Reject> From<AppendError> for Error<R> {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { stream, .. } => Self::Conflict(stream),
            AppendError::KeyReused => Self::KeyReused,
            AppendError::BadData(reason) => Self::BadData(reason),
            AppendError::Unavailable(error) => Self::Unavailable(error),
            AppendError::Codec(error) => Self::Codec(error),
            AppendError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// Why a stream could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the stream cannot be read by this build")]
    Codec(#[from] eventsourcing::event::CodecError),
}

impl<R: Reject> From<LoadError> for Error<R> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unavailable(error) => Self::Unavailable(error),
            LoadError::Codec(error) => Self::Codec(error),
        }
    }
}

/// A stream's state and where it stands.
#[derive(Debug, Clone, Default)]
pub struct Loaded<D> {
    pub state: D,
    pub version: Version,
    /// Of its last event.
    pub position: Position,
}

/// Handles the commands of one decider.
#[derive(Debug)]
pub struct Handler<D: Decider> {
    store: EventStore,
    cache: Cache<StreamId, Loaded<D>>,
    /// Who met a conflict waits in line here, so that one process does not compete with itself for
    /// a busy stream. Nobody else pays for it.
    stream_locks: Box<[Mutex<()>]>,
}

impl<D: Decider<Command: Clone>> Handler<D> {
    pub fn new(store: EventStore) -> Self {
        Self {
            store,
            cache: Cache::new(CACHED_STREAMS),
            stream_locks: (0..STREAM_LOCKS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Hands `command` to the decider of `stream`.
    pub async fn execute(
        &self,
        stream: &StreamId,
        command: D::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<D::Rejection>> {
        let cached = self.cache.get(stream);
        let span = Self::span(stream, &envelope);
        self.run(stream, cached, command, envelope).instrument(span).await
    }

    /// The same for a stream whose key was just made, so that there is nothing to load.
    pub async fn create(
        &self,
        stream: &StreamId,
        command: D::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<D::Rejection>> {
        let span = Self::span(stream, &envelope);
        self.run(stream, Some(Loaded::default()), command, envelope).instrument(span).await
    }

    fn span(stream: &StreamId, envelope: &Envelope) -> Span {
        let span = otel_span!(
            "command",
            otel.name = format_args!("command {}", D::CATEGORY),
            %stream,
            actor = envelope.metadata.actor,
        );
        otel::set_parent_if_root(&span, envelope.metadata.traceparent.as_deref());
        span
    }

    /// The state of `stream` now.
    pub async fn load(&self, stream: &StreamId) -> Result<Loaded<D>, LoadError> {
        let loaded = self.catch_up(stream, self.cache.get(stream).unwrap_or_default()).await?;
        self.cache.insert(stream.clone(), loaded.clone());
        Ok(loaded)
    }

    async fn run(
        &self,
        stream: &StreamId,
        cached: Option<Loaded<D>>,
        command: D::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<D::Rejection>> {
        let mut fresh = cached.is_none();
        let mut loaded = cached.unwrap_or_default();
        let mut lock = None;
        for attempt in 0..MAX_ATTEMPTS {
            if fresh || attempt > 0 {
                // Events never change: what is remembered is right as far as it goes.
                loaded = self.catch_up(stream, loaded).await?;
                fresh = true;
            }
            if let Some(expected) = envelope.expected
                && expected != loaded.version
            {
                if !fresh {
                    continue;
                }
                // Who may not see it, or touch it, does not learn its version either.
                let error = match loaded.state.decide(command) {
                    Err(rejection)
                        if matches!(rejection.kind(), Kind::NotFound | Kind::Forbidden) =>
                    {
                        Error::Rejected(rejection)
                    }
                    _ => Error::OtherVersion { actual: loaded.version },
                };
                return self.refused(error, envelope.receipt).await;
            }
            let events = match loaded.state.decide(command.clone()) {
                Ok(events) if !events.is_empty() => events,
                // A remembered state may be out of date: a refusal is given on a fresh one only.
                _ if !fresh => continue,
                Ok(events) => events,
                Err(rejection) => {
                    return self.refused(Error::Rejected(rejection), envelope.receipt).await;
                }
            };
            if events.is_empty() && envelope.receipt.is_none() {
                let Loaded { version, position, .. } = loaded;
                return Ok(Done { position, version, replayed: None });
            }
            let new = events.iter().map(NewEvent::new).collect::<Result<Vec<_>, _>>()?;
            let own = StreamAppend {
                stream: stream.clone(),
                expected: ExpectedVersion::Exact(loaded.version),
                events: new,
            };
            let request = Append {
                streams: std::iter::once(own).chain(envelope.also.iter().cloned()).collect(),
                metadata: envelope.metadata.clone(),
                receipt: envelope.receipt.clone(),
            };
            match self.store.append(request).await {
                Ok(Appended::New { position, version }) => {
                    // Without events of its own, the append answers with the head's position.
                    let position = if events.is_empty() { loaded.position } else { position };
                    let state = events.iter().fold(loaded.state, D::evolve);
                    let loaded = Loaded { state, version, position };
                    self.cache.insert(stream.clone(), loaded);
                    return Ok(Done { position, version, replayed: None });
                }
                Ok(Appended::Replayed(receipt)) => return Ok(replay(receipt)),
                // Our ids are new, so this does not happen; if it did, it would be written.
                Ok(Appended::Duplicate { position }) => {
                    return Ok(Done { position, version: loaded.version, replayed: None });
                }
                Err(AppendError::Conflict { stream: other, .. }) if other == *stream => {
                    if lock.is_none() {
                        lock = Some(self.stream_lock(stream).lock().await);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contention(stream.clone()))
    }

    /// The rest of the stream, folded onto what is known of it.
    async fn catch_up(
        &self,
        stream: &StreamId,
        mut loaded: Loaded<D>,
    ) -> Result<Loaded<D>, LoadError> {
        loop {
            let page = self.store.read_stream(stream, loaded.version, PAGE_EVENTS).await?;
            let Some(last) = page.last() else {
                return Ok(loaded);
            };
            (loaded.version, loaded.position) = (last.version, last.position);
            for raw in &page {
                loaded.state = loaded.state.evolve(&raw.event()?);
            }
        }
    }

    fn stream_lock(&self, stream: &StreamId) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        stream.hash(&mut hasher);
        &self.stream_locks
            [usize::try_from(hasher.finish() % STREAM_LOCKS as u64).unwrap_or_default()]
    }

    /// A command sent again may well be refused, because it was accepted the first time: then the
    /// first answer is the answer.
    async fn refused(
        &self,
        error: Error<D::Rejection>,
        receipt: Option<NewReceipt>,
    ) -> Result<Done, Error<D::Rejection>> {
        let Some(new) = receipt else {
            return Err(error);
        };
        match self.store.receipt(&new.key).await? {
            None => Err(error),
            Some(known) if known.fingerprint == new.fingerprint => Ok(replay(known)),
            Some(_) => Err(Error::KeyReused),
        }
    }
}

fn replay(receipt: Receipt) -> Done {
    Done { position: receipt.position, version: Version::NONE, replayed: Some(receipt) }
}
