//! The one way a command becomes events: load the stream, fold it, ask the decider, append on the
//! condition that nothing has happened since; if something has, start again.

use domain::{Decider, Metadata, Position, Reject, StreamId, Version};
use eventstore::{
    Append, AppendError, Appended, EventStore, ExpectedVersion, NewEvent, NewReceipt, Receipt,
    StreamAppend, Unavailable,
};
use quick_cache::sync::Cache;

/// States kept in memory, by stream. The next command to the stream need not load it.
const CACHED_STREAMS: usize = 16_384;
/// How often a command is decided anew because others wrote to its stream in between.
const MAX_ATTEMPTS: usize = 16;
/// Events loaded at once.
const PAGE_EVENTS: usize = 1_000;

/// What comes with a command from outside.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    pub metadata: Metadata,
    /// Asked for with an idempotency key: the answer to keep.
    pub receipt: Option<NewReceipt>,
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
    #[error("{0}")]
    BadData(String),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("the process is shutting down")]
    ShuttingDown,
    /// The stream holds something this build cannot read or write.
    #[error("the stream cannot be read or written by this build")]
    Codec(#[from] domain::event::CodecError),
}

impl<R: Reject> From<AppendError> for Error<R> {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { stream, .. } => Self::Contention(stream),
            AppendError::KeyReused => Self::KeyReused,
            AppendError::BadData(reason) => Self::BadData(reason),
            AppendError::Unavailable(error) => Self::Unavailable(error),
            AppendError::Codec(error) => Self::Codec(error),
            AppendError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// A stream's state and where it stands.
#[derive(Debug, Clone, Default)]
struct Loaded<D> {
    state: D,
    version: Version,
    position: Position,
}

/// Handles the commands of one decider.
#[derive(Debug)]
pub struct Handler<D: Decider> {
    store: EventStore,
    cache: Cache<StreamId, Loaded<D>>,
}

impl<D: Decider<Command: Clone>> Handler<D> {
    pub fn new(store: EventStore) -> Self {
        Self { store, cache: Cache::new(CACHED_STREAMS) }
    }

    /// Hands `command` to the decider of `stream`.
    pub async fn execute(
        &self,
        stream: &StreamId,
        command: D::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<D::Rejection>> {
        let cached = self.cache.get(stream);
        self.run(stream, cached, command, envelope).await
    }

    /// The same for a stream whose key was just made, so that there is nothing to load.
    pub async fn create(
        &self,
        stream: &StreamId,
        command: D::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<D::Rejection>> {
        self.run(stream, Some(Loaded::default()), command, envelope).await
    }

    /// The state of `stream` now.
    pub async fn load(&self, stream: &StreamId) -> Result<D, Error<D::Rejection>> {
        let loaded = self.catch_up(stream, self.cache.get(stream).unwrap_or_default()).await?;
        self.cache.insert(stream.clone(), loaded.clone());
        Ok(loaded.state)
    }

    async fn run(
        &self,
        stream: &StreamId,
        mut cached: Option<Loaded<D>>,
        command: D::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<D::Rejection>> {
        for _ in 0..MAX_ATTEMPTS {
            let fresh = cached.is_none();
            let loaded = match cached.take() {
                Some(loaded) => loaded,
                None => self.catch_up(stream, Loaded::default()).await?,
            };
            let events = match loaded.state.decide(command.clone()) {
                Ok(events) if !events.is_empty() => events,
                // A remembered state may be out of date: a refusal is given on a fresh one only.
                _ if !fresh => continue,
                Ok(events) => events,
                Err(rejection) => return self.rejected(rejection, envelope.receipt).await,
            };
            if events.is_empty() && envelope.receipt.is_none() {
                let Loaded { version, position, .. } = loaded;
                return Ok(Done { position, version, replayed: None });
            }
            let new = events.iter().map(NewEvent::new).collect::<Result<Vec<_>, _>>()?;
            let request = Append {
                streams: vec![StreamAppend {
                    stream: stream.clone(),
                    expected: ExpectedVersion::Exact(loaded.version),
                    events: new,
                }],
                metadata: envelope.metadata.clone(),
                receipt: envelope.receipt.clone(),
            };
            match self.store.append(request).await {
                Ok(Appended::New { position, version }) => {
                    let state = events.iter().fold(loaded.state, D::evolve);
                    // Without events of its own, the append answers with the head's position.
                    let position = if events.is_empty() { loaded.position } else { position };
                    let loaded = Loaded { state, version, position };
                    self.cache.insert(stream.clone(), loaded);
                    return Ok(Done { position, version, replayed: None });
                }
                Ok(Appended::Replayed(receipt)) => return Ok(replay(receipt)),
                // Our ids are new, so this does not happen; if it did, it would be written.
                Ok(Appended::Duplicate { position }) => {
                    return Ok(Done { position, version: loaded.version, replayed: None });
                }
                Err(AppendError::Conflict { .. }) => {
                    self.cache.remove(stream);
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
    ) -> Result<Loaded<D>, Error<D::Rejection>> {
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

    /// A command sent again may well be refused, because it was accepted the first time: then the
    /// first answer is the answer.
    async fn rejected(
        &self,
        rejection: D::Rejection,
        receipt: Option<NewReceipt>,
    ) -> Result<Done, Error<D::Rejection>> {
        let Some(new) = receipt else {
            return Err(Error::Rejected(rejection));
        };
        match self.store.receipt(&new.key).await? {
            None => Err(Error::Rejected(rejection)),
            Some(known) if known.fingerprint == new.fingerprint => Ok(replay(known)),
            Some(_) => Err(Error::KeyReused),
        }
    }
}

fn replay(receipt: Receipt) -> Done {
    Done { position: receipt.position, version: Version::NONE, replayed: Some(receipt) }
}
