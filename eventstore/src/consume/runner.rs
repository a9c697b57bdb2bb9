//! Handles batches for one consumer and moves its checkpoint. The checkpoint's old value is the
//! fence: of two runners of one consumer, one commits.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use eventsourcing::{Position, StreamId};

use super::backoff::{halves, is_suspicious};
use super::checkpoint::Checkpoint;
use super::consumer::{ConsumeError, Consumer, Session};
use super::failed::Failed;
use super::parked::{self, KILLED, MAX_ATTEMPTS, Parked};
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
    /// Events that failed since the last commit, which parks their keys.
    failed: HashMap<StreamId, Failed>,
    /// Keys whose attempts were counted since the last commit, which clears them unless one failed.
    suspects: HashSet<StreamId>,
    /// Parked keys whose events were left out since the last commit.
    left_out: HashSet<StreamId>,
}

impl<'c, C: Consumer> Runner<'c, C> {
    /// Starts `consumer` at its checkpoint, and counts the start.
    pub async fn start(consumer: &'c mut C, store: &EventStore) -> Result<Self, ConsumeError> {
        Self::begin(consumer, store, true).await
    }

    /// Starts `consumer` at its checkpoint. The start counts as suspicious if it is one `after_crash`.
    pub(super) async fn begin(
        consumer: &'c mut C,
        store: &EventStore,
        after_crash: bool,
    ) -> Result<Self, ConsumeError> {
        let checkpoint = store.begin_consumer(consumer.name(), C::START, after_crash).await?;
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
            failed: HashMap::new(),
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
    /// cannot be handled are parked; all others go on. In front of an event that this build does not
    /// know, the checkpoint stops, and [`ConsumeError::NewerBuild`] is returned.
    pub async fn apply(
        &mut self,
        mut events: &[Arc<RawEvent>],
        through: Position,
    ) -> Result<(), ConsumeError> {
        while let Some(index) = events.iter().position(|event| self.stops_at(event)) {
            let (known, rest) = events.split_at(index);
            self.apply_known(known, Position(rest[0].position.0 - 1)).await?;
            // Its stream may have been parked just now, at an earlier event.
            if self.stops_at(&rest[0]) {
                if self.position > self.checkpoint {
                    self.commit(self.recorded_at, self.position).await?;
                }
                return Err(ConsumeError::NewerBuild(Failed::unknown(&rest[0])));
            }
            events = rest;
        }
        self.apply_known(events, through).await
    }

    /// Whether a newer build wrote `event`, and it neither waits behind a parked one nor is skipped.
    fn stops_at(&self, event: &RawEvent) -> bool {
        !self.consumer.knows(event)
            && !self.parked.skips(event.position)
            && self.waits_behind(event).is_none()
    }

    async fn apply_known(
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
                    if self.count(&failed).await? > MAX_ATTEMPTS {
                        self.fail(failed);
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
            if !due.is_empty() {
                for failed in self.consumer.handle(&due, &self.parked).await? {
                    self.fail(failed);
                }
            }
            let recorded_at = events.last().map(|event| event.recorded_at).or(self.recorded_at);
            if C::COMMITS_AT_HEARTBEAT && self.suspects.is_empty() && self.failed.is_empty() {
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
            } else if let [event] = events
                && let key = self.consumer.key(event).into_owned()
                && self.failed.get(&key).is_none_or(|failed| failed.position > event.position)
            {
                let error = refusal.to_owned();
                self.fail(Failed { key, position: event.position, error });
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
            match self.waits_behind(event) {
                Some(key) => {
                    self.left_out.insert(key.into_owned());
                }
                None => due.push(Arc::clone(event)),
            }
        }
        Cow::Owned(due)
    }

    /// The parked stream behind which `event` waits. It waits behind its own stream, too: an event
    /// there may be what it rests on.
    fn waits_behind<'e>(&self, event: &'e RawEvent) -> Option<Cow<'e, StreamId>> {
        if self.parked.waits(&event.stream, event.position) {
            return Some(Cow::Borrowed(&event.stream));
        }
        Some(self.consumer.key(event)).filter(|key| self.parked.waits(key, event.position))
    }

    /// Parks the key of `failed` with the next commit.
    fn fail(&mut self, failed: Failed) {
        self.parked.insert(failed.key.clone(), failed.position);
        self.failed.insert(failed.key.clone(), failed);
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
        let harmless = self.suspects.iter().filter(|key| !self.failed.contains_key(*key));
        let harmless: Vec<&str> = harmless.map(StreamId::as_str).collect();
        parked::clear(connection, name, &harmless).await?;
        if !parked::park(connection, name, &self.failed).await? {
            return Err(ConsumeError::Fenced);
        }
        let left_out: Vec<&str> = self.left_out.iter().map(StreamId::as_str).collect();
        if !parked::still_parked(connection, name, &left_out).await? {
            return Err(ConsumeError::Fenced);
        }
        self.consumer.commit(connection).await?;
        transaction.commit().await?;
        for Failed { key, position, error } in self.failed.drain().map(|(_, failed)| failed) {
            let name = self.consumer.name().to_owned();
            tracing::error!(consumer = name, stream = %key, %position, error, "stream parked");
            metrics::counter!("tributary_parked_total", "projection" => name).increment(1);
        }
        self.suspects.clear();
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
