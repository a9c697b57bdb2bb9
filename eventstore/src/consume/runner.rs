//! Handles batches for one consumer and moves its checkpoint. The checkpoint's old value is the
//! fence: of two runners of one consumer, one commits.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::{Position, StreamId};
use tokio::time::sleep;

use super::backoff::{Verdict, halves, is_suspicious, verdict};
use super::checkpoint::Checkpoint;
use super::consumer::{ConsumeError, Consumer, Session};
use super::failed::Failed;
use super::parked::{self, KILLED, Parked};
use crate::{EventStore, RawEvent};

/// A consumer at a position of the log.
#[derive(Debug)]
pub struct Runner<'c, C> {
    /// The consumer itself.
    pub consumer: &'c mut C,
    /// The streams it has parked, and the events it skips.
    pub parked: Parked,
    pub(super) store: EventStore,
    pub(super) session: Session,
    /// Everything up to here has been handled.
    position: Position,
    /// The checkpoint; behind `position` for consumers that commit at the heartbeat.
    pub(super) checkpoint: Position,
    /// Of the last event handled.
    recorded_at: Option<DateTime<Utc>>,
    /// Whether an event at hand probably kills the process.
    suspicious: bool,
    /// Keys whose events failed since the last commit, which parks them or clears their attempts.
    suspects: HashSet<StreamId>,
    /// Parked keys whose events were left out since the last commit.
    left_out: HashSet<StreamId>,
}

impl<'c, C: Consumer> Runner<'c, C> {
    /// Starts `consumer` at its checkpoint, and counts the start.
    pub async fn start(consumer: &'c mut C, store: &EventStore) -> Result<Self, ConsumeError> {
        let checkpoint = store.start_consumer_at(consumer.name(), C::START).await?;
        let position = checkpoint.position;
        let suspicious = is_suspicious(checkpoint.starts);
        if suspicious {
            tracing::warn!(
                consumer = consumer.name(), %position, starts = checkpoint.starts,
                "consumer started several times at this position, counting attempts before they are made",
            );
        }
        let session = consumer.open(store, position).await?;
        Ok(Self {
            parked: Parked::load(store.pool(), consumer.name()).await?,
            consumer,
            store: store.clone(),
            session,
            position,
            checkpoint: position,
            recorded_at: None,
            suspicious,
            suspects: HashSet::new(),
            left_out: HashSet::new(),
        })
    }

    /// Everything up to here has been handled.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether the process probably died several times of an event after the checkpoint.
    pub fn is_suspicious(&self) -> bool {
        self.suspicious
    }

    /// Handles all events up to `through`, and moves the checkpoint there. Keys of events that
    /// cannot be handled are parked; all others go on.
    pub async fn apply(
        &mut self,
        events: &[Arc<RawEvent>],
        through: Position,
    ) -> Result<(), ConsumeError> {
        if std::mem::take(&mut self.suspicious) {
            // Each attempt is counted before it is made, so that an event that kills the process is
            // parked like any other.
            for event in events {
                let key = self.consumer.key(event).into_owned();
                if !self.parked.waits(&key, event.position) {
                    let failed = Failed { key, position: event.position, error: KILLED.to_owned() };
                    if self.count(&failed).await? > C::ATTEMPTS {
                        self.parked.insert(failed.key, failed.position);
                    }
                }
                self.apply_batch(std::slice::from_ref(event), event.position).await?;
            }
            return self.apply_batch(&[], through).await;
        }
        self.apply_batch(events, through).await
    }

    async fn apply_batch(
        &mut self,
        events: &[Arc<RawEvent>],
        through: Position,
    ) -> Result<(), ConsumeError> {
        // A stack of halves instead of recursion: the earlier half is always on top.
        let mut stretches = vec![(events, through)];
        while let Some((events, through)) = stretches.pop() {
            if through <= self.position {
                continue; // Nothing new.
            }
            let due = self.due(events);
            self.handle(&due).await?;
            let recorded_at = events.last().map(|event| event.recorded_at).or(self.recorded_at);
            if C::COMMITS_AT_HEARTBEAT && self.suspects.is_empty() {
                (self.position, self.recorded_at) = (through, recorded_at);
                continue;
            }
            let Err(error) = self.commit(recorded_at, through).await else {
                continue;
            };
            let Some(refusal) = error.refusal() else {
                return Err(error);
            };
            if let Some([left, right]) = halves((events, through)) {
                stretches.extend([right, left]);
            } else if let [event] = events {
                let key = self.consumer.key(event).into_owned();
                let failed = Failed { key, position: event.position, error: refusal.to_owned() };
                let wait = self.count_failures(&[failed]).await?;
                sleep(wait).await;
                stretches.push((events, through));
            } else {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The events that neither wait behind a parked one nor are skipped.
    fn due<'e>(&mut self, events: &'e [Arc<RawEvent>]) -> Cow<'e, [Arc<RawEvent>]> {
        if self.parked.is_empty() {
            return Cow::Borrowed(events);
        }
        let mut due = Vec::with_capacity(events.len());
        for event in events.iter().filter(|event| !self.parked.skips(event.position)) {
            let key = self.consumer.key(event);
            // An event waits behind its own stream, too: one there may be what it rests on.
            let waits = |key: &&StreamId| self.parked.waits(key, event.position);
            if let Some(key) = [&event.stream, &*key].into_iter().find(waits) {
                self.left_out.insert(key.clone());
            } else {
                due.push(Arc::clone(event));
            }
        }
        Cow::Owned(due)
    }

    /// Hands `events` to the consumer, and those that failed again, until their keys are to be
    /// parked.
    async fn handle(&mut self, events: &[Arc<RawEvent>]) -> Result<(), ConsumeError> {
        let mut pending = Cow::Borrowed(events);
        while !pending.is_empty() {
            let failed = self.consumer.handle(&pending, &self.parked).await?;
            if failed.is_empty() {
                break;
            }
            let wait = self.count_failures(&failed).await?;
            let failed_at: HashMap<&StreamId, Position> =
                failed.iter().map(|failed| (&failed.key, failed.position)).collect();
            let again = |event: &&Arc<RawEvent>| {
                let key = self.consumer.key(event);
                failed_at.get(&*key).is_some_and(|position| event.position >= *position)
                    && !self.parked.waits(&key, event.position)
            };
            pending = Cow::Owned(pending.iter().filter(again).cloned().collect());
            sleep(wait).await;
        }
        Ok(())
    }

    /// Counts a failed attempt at each of `failed`, and marks the keys that are to be parked.
    /// Returns how long to wait before the others are handled again.
    async fn count_failures(&mut self, failed: &[Failed]) -> Result<Duration, ConsumeError> {
        let mut wait = Duration::ZERO;
        for failure in failed {
            let attempts = self.count(failure).await?;
            let Failed { key, position, error } = failure;
            tracing::warn!(
                consumer = self.consumer.name(), %position, stream = %key, attempts, error,
                "event could not be handled",
            );
            match verdict(attempts, C::ATTEMPTS) {
                Verdict::Park => self.parked.insert(key.clone(), *position),
                Verdict::RetryAfter(time) => wait = wait.max(time),
            }
        }
        Ok(wait)
    }

    /// Counts an attempt. Another runner may have parked the key: this one then has to load what is
    /// parked, or it would try for ever.
    async fn count(&mut self, failed: &Failed) -> Result<i32, ConsumeError> {
        let attempts = parked::count(self.store.pool(), self.consumer.name(), failed).await?;
        self.suspects.insert(failed.key.clone());
        attempts.ok_or(ConsumeError::Fenced)
    }

    /// Commits what the consumer has handled and moves its checkpoint to `through`; `recorded_at` is
    /// the time of the last event up to there. The checkpoint comes first: if another runner, or a
    /// rebuild that is about to replace this read model, has its row locked, this transaction waits
    /// before it writes anything.
    pub async fn commit(
        &mut self,
        recorded_at: Option<DateTime<Utc>>,
        through: Position,
    ) -> Result<(), ConsumeError> {
        let mut transaction = self.session.begin().await?;
        let connection = &mut *transaction;
        let (name, from) = (self.consumer.name(), self.checkpoint);
        if !Checkpoint::advance(connection, name, from, through, recorded_at).await? {
            return Err(ConsumeError::Fenced);
        }
        for key in &self.suspects {
            if self.parked.contains(key) {
                parked::park(connection, name, key).await?;
            } else {
                parked::clear(connection, name, key).await?;
            }
        }
        let left_out: Vec<&str> = self.left_out.iter().map(StreamId::as_str).collect();
        if !parked::still_parked(connection, name, &left_out).await? {
            return Err(ConsumeError::Fenced);
        }
        self.consumer.commit(connection).await?;
        transaction.commit().await?;
        for key in self.suspects.drain().filter(|key| self.parked.contains(key)) {
            let name = self.consumer.name().to_owned();
            tracing::error!(consumer = name, stream = %key, "stream parked");
            metrics::counter!("tributary_parked_total", "projection" => name).increment(1);
        }
        self.left_out.clear();
        (self.position, self.checkpoint) = (through, through);
        self.recorded_at = recorded_at;
        self.consumer.committed(through);
        Ok(())
    }

    /// Shows that the consumer lives, moves its checkpoint if it has handled events since, and
    /// retries the parked streams that an operator asked for.
    pub(super) async fn heartbeat(&mut self) -> Result<(), ConsumeError> {
        if self.position == self.checkpoint {
            self.store.heartbeat(self.consumer.name()).await?;
        } else {
            self.commit(self.recorded_at, self.position).await?;
        }
        self.retry_requested().await
    }
}
