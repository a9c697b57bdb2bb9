//! Running a process manager: take what happened, let it say what follows, hand those commands to
//! their deciders, and remember how far it came.
//!
//! The checkpoint moves after all commands of a batch are done, so after a crash some are given
//! again; each carries a key made of the event it follows from, and is done once. Any number of
//! workers may run the same process manager: the one that is behind finds everything done, and the
//! moved checkpoint tells it to go on from there.

mod again;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use eventsourcing::event::EventSet;
use eventsourcing::{Metadata, Position, Recorded, Reject, StreamId};
use eventstore::parked::{self, MAX_ATTEMPTS, Parked, Suspect};
use eventstore::{Checkpoint, EventStore, Feed, Filter, NewReceipt, RawEvent, Unavailable};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use crate::handler::{Envelope, Error, LoadError};
use again::Again;

/// Most events taken at once: what is done again after a crash, at most.
const BATCH_EVENTS: usize = 256;
/// Keys of a batch that are seen to at the same time; those of one key wait for each other.
const AT_ONCE: usize = 64;
/// It says that it lives this often, also when it has nothing to do.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// More starts than this at one position: something there kills the process.
const SUSPICIOUS_STARTS: i32 = 3;
/// First and longest wait before a failure is met again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A process manager: what follows elsewhere from what happened.
pub(crate) trait Process: Send + Sync {
    /// Name of the consumer.
    const NAME: &'static str;
    /// Stream categories it reads; all others pass it by.
    const CATEGORIES: &'static [&'static str];
    type Event: EventSet;

    /// The stream of what the event concerns: events of one are seen to in order. None if nothing
    /// can follow from it.
    fn concerns(event: &Recorded<Self::Event>) -> Option<StreamId>;

    /// Does what follows. Called again for the same event after a crash.
    fn react(
        &self,
        event: &Recorded<Self::Event>,
    ) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// Why a reaction was not completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Nothing is wrong with the event.
    #[error("{0}")]
    Passing(String),
    #[error("{0}")]
    Poison(String),
}

impl From<LoadError> for Trouble {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unavailable(error) => Self::Passing(error.to_string()),
            LoadError::Codec(error) => Self::Poison(parked::reason(&error)),
        }
    }
}

/// A command that was refused has nothing left to do: what it was for is no longer so.
pub(crate) fn unless_refused<T, R: Reject>(outcome: Result<T, Error<R>>) -> Result<(), Trouble> {
    match outcome {
        Ok(_) | Err(Error::Rejected(_)) => Ok(()),
        Err(
            error @ (Error::Unavailable(_)
            | Error::ShuttingDown
            | Error::Contention(_)
            | Error::Conflict(_)),
        ) => Err(Trouble::Passing(error.to_string())),
        Err(
            error @ (Error::KeyReused
            | Error::BadData(_)
            | Error::Codec(_)
            | Error::OtherVersion { .. }),
        ) => Err(Trouble::Poison(error.to_string())),
    }
}

/// What goes with command number `number` that follows from `event`.
pub(crate) fn following<E>(process: &str, event: &Recorded<E>, number: usize) -> Envelope {
    let metadata = Metadata {
        correlation_id: event.metadata.correlation_id,
        causation_id: Some(event.id),
        actor: Some(process.to_owned()),
        traceparent: event.metadata.traceparent.clone(),
    };
    let key = format!("{process} {} {number}", event.id);
    let receipt = Some(NewReceipt::new(key, b"", RawValue::NULL.to_owned()));
    Envelope { metadata, receipt, ..Envelope::default() }
}

/// Runs `process` until `shutdown`. Failures of the database are met with patience.
pub(crate) async fn run<P: Process>(
    process: &P,
    store: &EventStore,
    feed: &Feed,
    shutdown: &CancellationToken,
) {
    let mut backoff = BACKOFF.0;
    loop {
        let started = Instant::now();
        let followed = shutdown.run_until_cancelled(follow(process, store, feed)).await;
        let error = match followed {
            None => return,
            Some(Ok(never)) => match never {},
            Some(Err(Interrupted::Fenced)) => {
                tracing::debug!(process = P::NAME, "another worker was faster");
                continue;
            }
            Some(Err(error)) => error,
        };
        if started.elapsed() > BACKOFF.1 {
            backoff = BACKOFF.0;
        }
        tracing::warn!(process = P::NAME, %error, ?backoff, "the process manager starts again");
        shutdown.run_until_cancelled(sleep(backoff)).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// Why a runner starts again.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Log(#[from] Unavailable),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("a reaction has to wait: {0}")]
    Passing(String),
    #[error("another runner has moved the checkpoint on, or set a key aside")]
    Fenced,
}

async fn follow<P: Process>(
    process: &P,
    store: &EventStore,
    feed: &Feed,
) -> Result<std::convert::Infallible, Interrupted> {
    let checkpoint = store.start_consumer(P::NAME).await?;
    let mut position = checkpoint.position;
    let mut careful = checkpoint.starts > SUSPICIOUS_STARTS;
    let mut parked = Parked::load(store.pool(), P::NAME).await?;
    let mut subscription = feed.subscribe(position, Filter::categories(P::CATEGORIES));
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let batch = tokio::select! {
            batch = subscription.next(BATCH_EVENTS) => batch?,
            _ = heartbeat.tick() => {
                store.heartbeat(P::NAME).await?;
                let keys = parked::requested(store.pool(), P::NAME).await?;
                parked = Parked::load(store.pool(), P::NAME).await?;
                for key in keys {
                    if let Some(retry) = parked::begin(store.pool(), P::NAME, &key).await? {
                        let again = Again { process, store, parked: &parked, checkpoint: position };
                        again.go_on(retry).await?;
                    }
                    parked = Parked::load(store.pool(), P::NAME).await?;
                }
                continue;
            }
        };
        let last = batch.events.last().map(|event| event.recorded_at);
        let work = Reactions { process, store, careful };
        let mut left_out = HashSet::new();
        for (stream, position) in work.see_to(&batch.events, &parked, &mut left_out).await? {
            parked.insert(stream, position);
        }
        careful = false;
        let mut transaction = store.pool().begin().await?;
        if !Checkpoint::advance(&mut transaction, P::NAME, position, batch.through, last).await? {
            return Err(Interrupted::Fenced);
        }
        let left_out: Vec<&str> = left_out.iter().map(StreamId::as_str).collect();
        if !parked::still_parked(&mut transaction, P::NAME, &left_out).await? {
            return Err(Interrupted::Fenced);
        }
        transaction.commit().await?;
        position = batch.through;
    }
}

/// Counts an attempt. Another worker may have parked the key: this one then has to look again, or
/// it would try for ever.
async fn count(
    connection: &mut PgConnection,
    consumer: &str,
    suspect: &Suspect<'_>,
    reason: &str,
) -> Result<i32, Interrupted> {
    parked::count(connection, consumer, suspect, reason).await?.ok_or(Interrupted::Fenced)
}

/// The reactions to one batch.
struct Reactions<'a, P> {
    process: &'a P,
    store: &'a EventStore,
    /// The process went down here before: every attempt is counted before it is made.
    careful: bool,
}

/// An event, or where there is one that cannot be read, and why.
type Read<E> = Result<Recorded<E>, (Position, String)>;

/// Events of one key, in order.
type Group<E> = Vec<Read<E>>;

/// What an event says, and the key it is seen to under; none if nothing can follow from it.
fn read<P: Process>(raw: &RawEvent) -> Option<(StreamId, Read<P::Event>)> {
    match raw.decode::<P::Event>() {
        Ok(event) => P::concerns(&event).map(|key| (key, Ok(event))),
        Err(error) => Some((raw.stream.clone(), Err((raw.position, parked::reason(&error))))),
    }
}

impl<P: Process> Reactions<'_, P> {
    /// Sees to all of `events` but those of parked keys, which are `left_out`. Says which keys were
    /// parked now.
    async fn see_to(
        &self,
        events: &[Arc<RawEvent>],
        parked: &Parked,
        left_out: &mut HashSet<StreamId>,
    ) -> Result<Vec<(StreamId, Position)>, Interrupted> {
        let mut groups: HashMap<StreamId, Group<P::Event>> = HashMap::new();
        for raw in events.iter().filter(|raw| !parked.skips(raw.position)) {
            let Some((key, event)) = read::<P>(raw) else {
                continue;
            };
            if parked.contains(&raw.stream) {
                left_out.insert(raw.stream.clone());
            } else if parked.contains(&key) {
                left_out.insert(key);
            } else {
                groups.entry(key).or_default().push(event);
            }
        }
        let at_once = if self.careful { 1 } else { AT_ONCE };
        stream::iter(groups)
            .map(|(key, group)| self.in_order(key, group))
            .buffer_unordered(at_once)
            .try_filter_map(async |parked| Ok(parked))
            .try_collect()
            .await
    }

    /// One key's events, one after the other, until one of them parks it.
    async fn in_order(
        &self,
        key: StreamId,
        group: Group<P::Event>,
    ) -> Result<Option<(StreamId, Position)>, Interrupted> {
        for event in group {
            let position = match &event {
                Ok(event) => event.position,
                Err((position, _)) => *position,
            };
            if self.poisoned(&Suspect { stream: &key, position }, &event).await? {
                return Ok(Some((key, position)));
            }
        }
        Ok(None)
    }

    /// Reacts to one event; true when its key had to be parked.
    async fn poisoned(
        &self,
        suspect: &Suspect<'_>,
        event: &Result<Recorded<P::Event>, (Position, String)>,
    ) -> Result<bool, Interrupted> {
        let mut connection = None;
        if self.careful {
            let own = connection.insert(self.store.pool().acquire().await?);
            if count(own, P::NAME, suspect, "killed the process").await? > MAX_ATTEMPTS {
                parked::park(own, P::NAME, suspect).await?;
                return Ok(true);
            }
        }
        loop {
            let reason = match event {
                Err((_, reason)) => reason.clone(),
                Ok(event) => match self.process.react(event).await {
                    Ok(()) => break,
                    Err(Trouble::Passing(reason)) => return Err(Interrupted::Passing(reason)),
                    Err(Trouble::Poison(reason)) => reason,
                },
            };
            let own = match &mut connection {
                Some(own) => own,
                None => connection.insert(self.store.pool().acquire().await?),
            };
            let attempts = count(own, P::NAME, suspect, &reason).await?;
            tracing::warn!(
                process = P::NAME, stream = %suspect.stream, position = %suspect.position,
                attempts, reason, "an event could not be reacted to",
            );
            if attempts >= MAX_ATTEMPTS {
                parked::park(own, P::NAME, suspect).await?;
                return Ok(true);
            }
            sleep(BACKOFF.0 * 2_u32.saturating_pow(attempts.unsigned_abs())).await;
        }
        if let Some(own) = &mut connection {
            parked::clear(own, P::NAME, suspect).await?;
        }
        Ok(false)
    }
}
