//! Runs a process manager as an at-least-once consumer: it decodes events, lets the process manager
//! react with commands, and hands those to their deciders.
//!
//! The checkpoint moves after all commands of a batch, so after a crash some are given again; each
//! carries an idempotency key of the event it follows from and of its target, with its content as the
//! fingerprint, and is executed once. Any number of workers may run the same process manager: one that
//! is behind finds everything done, and the moved checkpoint makes it start from there.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use eventsourcing::event::{CodecError, EventSet};
use eventsourcing::{Metadata, Position, Recorded, Reject, StreamId};
use eventstore::consume::{self, ConsumeError, Consumer, Failed, Session, Start, StreamReader};
use eventstore::parked::Parked;
use eventstore::{ErrorChain, EventStore, Feed, Filter, NewReceipt, Page, RawEvent, Unavailable};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, LoadError};
use crate::handler::Envelope;

/// Keys of a batch that are handled at the same time; events of one key are handled in order.
const CONCURRENCY: usize = 64;
/// Events of the log read at once for a retry.
const RETRY_EVENTS: usize = 1_024;

/// A process manager: which commands follow from what happened.
pub(crate) trait Process: Send + Sync {
    /// Name of the consumer.
    const NAME: &'static str;
    /// Stream categories the process manager follows; events of all others are left out.
    const CATEGORIES: &'static [&'static str];
    /// Where the process manager starts at its first run. Commands that follow from events long past
    /// may be wrong today.
    const START: Start;
    /// The events it decodes.
    type Event: EventSet;

    /// The stream that the event concerns: events of one such stream are handled in order. None if
    /// nothing can follow from the event.
    fn concerns(event: &Recorded<Self::Event>) -> Option<StreamId>;

    /// Gives the commands that follow from `event`. Called again for the same event after a crash.
    fn react(
        &self,
        event: &Recorded<Self::Event>,
    ) -> impl Future<Output = Result<(), ReactError>> + Send;
}

/// Why a reaction was not completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReactError {
    /// Nothing is wrong with the event: another attempt can succeed.
    #[error("{0}")]
    Passing(String),
    /// The event cannot be handled.
    #[error("{0}")]
    Poison(String),
    /// A newer build wrote an event that the reaction depends on.
    #[error("{0}")]
    NewerBuild(String),
}

impl From<CodecError> for ReactError {
    fn from(error: CodecError) -> Self {
        let text = ErrorChain(&error).to_string();
        if error.is_of_newer_build() { Self::NewerBuild(text) } else { Self::Poison(text) }
    }
}

impl From<LoadError> for ReactError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unavailable(error) => Self::Passing(ErrorChain(&error).to_string()),
            LoadError::Codec(error) => error.into(),
        }
    }
}

impl From<LoadError> for ConsumeError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unavailable(error) => Self::Log(error),
            LoadError::Codec(_) => Self::failed(error),
        }
    }
}

/// Takes a rejected command of `process` to `target` for done: the reason for the command no longer
/// holds. Counts and logs the rejection.
pub(crate) fn unless_refused<T, R: Reject>(
    process: &'static str,
    target: &StreamId,
    outcome: Result<T, Error<R>>,
) -> Result<(), ReactError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Error::Rejected(rejection)) => {
            let code = rejection.code();
            metrics::counter!(
                "tributary_process_commands_refused_total", "process" => process, "code" => code
            )
            .increment(1);
            tracing::info!(process, %target, code, %rejection, "command of a process manager refused");
            Ok(())
        }
        Err(
            error @ (Error::Unavailable(_)
            | Error::ShuttingDown
            | Error::Contention(_)
            | Error::Conflict(_)),
        ) => Err(ReactError::Passing(error.to_string())),
        Err(Error::Codec(error)) => Err(error.into()),
        Err(error @ (Error::KeyReused | Error::BadData(_) | Error::OtherVersion { .. })) => {
            Err(ReactError::Poison(error.to_string()))
        }
    }
}

/// The envelope of the command to `target` that follows from `event`. An event has at most one command
/// to a stream, so event and target are the key. The fingerprint is `content`: when changed code sends
/// another command for an event that was handled before, the key is refused as reused, and the command
/// is not taken for done.
pub(crate) fn following<E>(
    process: &str,
    event: &Recorded<E>,
    target: &StreamId,
    content: &str,
) -> Envelope {
    let metadata = Metadata {
        correlation_id: event.metadata.correlation_id,
        causation_id: Some(event.id),
        actor: Some(process.to_owned()),
        traceparent: event.metadata.traceparent.clone(),
    };
    let key = format!("{process} {} {target}", event.id);
    let receipt = Some(NewReceipt::new(key, content.as_bytes(), RawValue::NULL.to_owned()));
    Envelope { metadata, receipt, ..Envelope::default() }
}

/// Runs `process` until `shutdown`.
pub(crate) async fn run<P: Process>(
    process: &P,
    store: &EventStore,
    feed: &Feed,
    shutdown: &CancellationToken,
) {
    consume::run(&mut ProcessManager(process), store, feed, shutdown).await;
}

/// A process manager as a consumer.
struct ProcessManager<'a, P>(&'a P);

/// An event, or why it cannot be decoded.
type Decoded<E> = Result<Recorded<E>, Failed>;

impl<P: Process> Consumer for ProcessManager<'_, P> {
    const NAME: &'static str = P::NAME;
    const START: Start = P::START;
    /// At most so many events are handled again after a crash.
    const BATCH_EVENTS: usize = 256;

    fn filter(&self) -> Filter {
        Filter::categories(P::CATEGORIES)
    }

    fn knows(&self, event: &RawEvent) -> bool {
        event.is_known::<P::Event>()
    }

    fn key<'e>(&self, event: &'e RawEvent) -> Cow<'e, StreamId> {
        let concerned = event.decode().ok().and_then(|event| P::concerns(&event));
        concerned.map_or(Cow::Borrowed(&event.stream), Cow::Owned)
    }

    async fn open(&mut self, store: &EventStore, _: Position) -> Result<Session, ConsumeError> {
        Ok(Session::Pool(store.pool().clone()))
    }

    async fn handle(
        &mut self,
        events: &[Arc<RawEvent>],
        _parked: &Parked,
    ) -> Result<Vec<Failed>, ConsumeError> {
        let mut of_key: HashMap<StreamId, Vec<Decoded<P::Event>>> = HashMap::new();
        for raw in events {
            let (key, event) = match raw.decode::<P::Event>() {
                Ok(event) => match P::concerns(&event) {
                    Some(key) => (key, Ok(event)),
                    None => continue,
                },
                Err(error) => (raw.stream.clone(), Err(Failed::undecodable(raw, &error))),
            };
            of_key.entry(key).or_default().push(event);
        }
        let process = self.0;
        stream::iter(of_key)
            .map(|(key, events)| react_in_order(process, key, events))
            .buffer_unordered(CONCURRENCY)
            .try_filter_map(async |failed| Ok(failed))
            .try_collect()
            .await
    }

    /// Events of one key may stand in several streams, so the log itself is read.
    async fn read_parked(&self, reader: &mut StreamReader) -> Result<Page, Unavailable> {
        let StreamReader { store, stream, after, until, .. } = reader;
        let mut page = store.read(*after, *until, &self.filter(), RETRY_EVENTS).await?;
        page.events.retain(|event| event.stream == *stream || *self.key(event) == *stream);
        Ok(page)
    }
}

/// Reacts to the events of one key, in order, up to the first that cannot be handled.
async fn react_in_order<P: Process>(
    process: &P,
    key: StreamId,
    events: Vec<Decoded<P::Event>>,
) -> Result<Option<Failed>, ConsumeError> {
    for event in events {
        let event = match event {
            Ok(event) => event,
            Err(failed) => return Ok(Some(failed)),
        };
        match process.react(&event).await {
            Ok(()) => {}
            Err(ReactError::Poison(error)) => {
                return Ok(Some(Failed { key, position: event.position, error }));
            }
            Err(ReactError::NewerBuild(error)) => {
                let failed = Failed { key, position: event.position, error };
                return Err(ConsumeError::NewerBuild(failed));
            }
            Err(error @ ReactError::Passing(_)) => return Err(ConsumeError::failed(error)),
        }
    }
    Ok(None)
}
