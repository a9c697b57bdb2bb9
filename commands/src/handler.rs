//! The command handler: loads a stream, lets its decider decide, and appends the events on the
//! condition that the stream has not changed. After a conflict it decides again.

use chrono::{DateTime, Utc};
use eventsourcing::{Decider, Metadata, Position, StreamId, Version};
use eventstore::{
    Append, AppendError, Appended, EventStore, ExpectedVersion, NewEvent, NewReceipt, Receipt,
    StreamAppend, Unavailable, otel, otel_span,
};
use quick_cache::sync::Cache;
use tracing::{Instrument, Span};

use crate::error::{Error, LoadError};
use crate::execution::{Execution, Loaded, Step};
use crate::stream_locks::StreamLocks;

/// Most states in the cache. A command on a cached stream loads nothing.
const CACHED_STREAMS: usize = 16_384;
/// Most events per read.
const PAGE_EVENTS: usize = 1_000;

/// What accompanies a command.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// Metadata of every event that follows.
    pub metadata: Metadata,
    /// The response to store under the idempotency key; `None` for a command without a key.
    pub receipt: Option<NewReceipt>,
    /// The versions of which the stream must have one, or the command is refused; `None` for any.
    pub expected: Option<Vec<Version>>,
    /// Appends to, or checks of, other streams in the same transaction.
    pub also: Vec<StreamAppend>,
}

/// A command that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Position of the last event of the stream. A read model at this position shows the command's
    /// effects.
    pub position: Position,
    /// Version of the stream after the command; zero if the command was accepted before for a
    /// stream of another name.
    pub version: Version,
    /// Time at which the command's events, or its receipt, were recorded. `None` if it changed
    /// nothing and has no receipt.
    pub recorded_at: Option<DateTime<Utc>>,
    /// Position of the log at which the command was accepted: of its last event, or the head if it
    /// changed nothing. `None` if that was not recorded.
    pub accepted_at: Option<Position>,
    /// The stored response, if a command with this idempotency key was accepted before.
    pub replayed: Option<Receipt>,
}

/// Handles the commands of one decider.
#[derive(Debug)]
pub struct Handler<D: Decider> {
    store: EventStore,
    cache: Cache<StreamId, Loaded<D>>,
    /// Taken by a command after its first conflict, so that commands of this process do not compete for
    /// a busy stream. Commands without a conflict take none.
    stream_locks: StreamLocks,
}

impl<D: Decider<Command: Clone>> Handler<D> {
    /// Makes a handler with an empty cache.
    pub fn new(store: EventStore) -> Self {
        Self { store, cache: Cache::new(CACHED_STREAMS), stream_locks: StreamLocks::new() }
    }

    /// Executes `command` on `stream`.
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

    /// Executes `command` on a stream whose key is new, without loading it first.
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

    /// Loads the current state of `stream`, from the cache as far as it goes.
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
        let mut execution = Execution::new(cached);
        let mut lock = None;
        loop {
            let events = match execution.next(&command, envelope.expected.as_deref()) {
                Step::Load => {
                    // Events never change: the remembered state holds as far as it goes.
                    let loaded = std::mem::take(&mut execution.loaded);
                    execution.refresh(self.catch_up(stream, loaded).await?);
                    continue;
                }
                Step::Append(events) => events,
                Step::Refuse(error) => return self.refused(stream, error, envelope).await,
                Step::GiveUp => return Err(Error::Contention(stream.clone())),
            };
            if events.is_empty() && envelope.receipt.is_none() {
                let Loaded { version, position, .. } = execution.loaded;
                return Ok(Done::nothing_new(position, version));
            }
            let own = StreamAppend {
                stream: stream.clone(),
                expected: ExpectedVersion::Exact(execution.loaded.version),
                events: events.iter().map(NewEvent::new).collect::<Result<_, _>>()?,
            };
            let request = Append {
                streams: std::iter::once(own).chain(envelope.also.iter().cloned()).collect(),
                metadata: envelope.metadata.clone(),
                receipt: envelope.receipt.clone(),
            };
            match self.store.append(request).await {
                Ok(Appended::New { position: accepted_at, version, recorded_at, .. }) => {
                    let Loaded { state, position: last, .. } = execution.loaded;
                    // Without events of its own, the append returns the position of the head.
                    let position = if events.is_empty() { last } else { accepted_at };
                    let state = events.iter().fold(state, D::evolve);
                    self.cache.insert(stream.clone(), Loaded { state, version, position });
                    return Ok(Done {
                        position,
                        version,
                        recorded_at: Some(recorded_at),
                        accepted_at: Some(accepted_at),
                        replayed: None,
                    });
                }
                Ok(Appended::Replayed(receipt)) => {
                    return Ok(self.replay(stream, receipt, &envelope.also).await?);
                }
                // Event ids made here are new, so this does not happen.
                Ok(Appended::Duplicate { position }) => {
                    return Ok(Done::nothing_new(position, execution.loaded.version));
                }
                Err(AppendError::Conflict { stream: other, .. }) if other == *stream => {
                    execution.conflicted();
                    if lock.is_none() {
                        lock = Some(self.stream_locks.lock(stream).await);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Folds the events after the version of `loaded` onto it.
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

    /// Returns `error`, unless the command was accepted before under its idempotency key: then the
    /// stored response counts. A repeated command may be rejected because the first one was accepted.
    async fn refused(
        &self,
        stream: &StreamId,
        error: Error<D::Rejection>,
        envelope: Envelope,
    ) -> Result<Done, Error<D::Rejection>> {
        let Some(new) = envelope.receipt else {
            return Err(error);
        };
        match self.store.receipt(&new.key).await? {
            None => Err(error),
            Some(known) if known.fingerprint == new.fingerprint => {
                Ok(self.replay(stream, known, &envelope.also).await?)
            }
            Some(_) => Err(Error::KeyReused),
        }
    }

    /// What the first execution of the command returned, with its receipt. Position and version are
    /// those of `stream` when the receipt was recorded.
    pub(crate) async fn replay(
        &self,
        stream: &StreamId,
        receipt: Receipt,
        also: &[StreamAppend],
    ) -> Result<Done, Unavailable> {
        let streams = std::slice::from_ref(stream);
        let last = self.store.last_of_streams(streams, receipt.position).await?.pop();
        let alone = also.iter().all(|part| part.events.is_empty());
        Ok(Done {
            position: last
                .as_ref()
                .filter(|_| alone)
                .map_or(receipt.position, |last| last.position),
            version: last.map_or(Version::NONE, |last| last.version),
            recorded_at: Some(receipt.recorded_at),
            accepted_at: Some(receipt.position),
            replayed: Some(receipt),
        })
    }
}

impl Done {
    /// A command that changed nothing, on a stream whose last event is at `position`.
    pub fn nothing_new(position: Position, version: Version) -> Self {
        Self { position, version, recorded_at: None, accepted_at: None, replayed: None }
    }
}
