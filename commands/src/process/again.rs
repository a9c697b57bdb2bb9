//! A parked key is tried again: its events from where it stopped to the checkpoint are reacted to,
//! in order. They may stand in several streams, so the log is read from there on. Commands that were
//! given before carry the same keys, and are done once.

use std::time::Duration;

use eventsourcing::{Position, StreamId};
use eventstore::parked::{self, Parked, Retry};
use eventstore::{EventStore, Filter, RawEvent};
use tokio::time::Instant;

use super::{Interrupted, Process, Trouble, read};

/// Events of the log read at once.
const PAGE: usize = 1_024;
/// How long everything else waits for it at one heartbeat.
const TURN: Duration = Duration::from_secs(1);

/// Another try.
pub(super) struct Again<'a, P> {
    pub(super) process: &'a P,
    pub(super) store: &'a EventStore,
    pub(super) parked: &'a Parked,
    /// Everything up to here is to be tried; the rest comes with the batches.
    pub(super) checkpoint: Position,
}

impl<P: Process> Again<'_, P> {
    /// Goes on with `retry`, for a turn; what is left has its turn at the next heartbeat.
    pub(super) async fn go_on(&self, mut retry: Retry) -> Result<(), Interrupted> {
        let begun = Instant::now();
        let filter = Filter::categories(P::CATEGORIES);
        loop {
            let after = Position(retry.position.0 - 1);
            let page = self.store.read(after, self.checkpoint, &filter, PAGE).await?;
            for raw in page.events.iter().filter(|raw| !self.parked.skips(raw.position)) {
                if let Some(reason) = self.react(&retry.stream, raw).await? {
                    let mut own = self.store.pool().acquire().await?;
                    parked::again(&mut own, P::NAME, &retry, raw.position, &reason).await?;
                    return Ok(());
                }
            }
            let done = page.through >= self.checkpoint;
            let mut transaction = self.store.pool().begin().await?;
            if !parked::lock(&mut transaction, P::NAME, &retry).await? {
                return Err(Interrupted::Fenced);
            }
            let next = Position(page.through.0 + 1);
            let free =
                done && parked::finish(&mut transaction, P::NAME, &retry, self.checkpoint).await?;
            if !free {
                parked::progress(&mut transaction, P::NAME, &retry, next).await?;
            }
            transaction.commit().await?;
            if done && !free {
                // Another worker has moved the checkpoint on, perhaps with what was done here. So
                // far it is done all the same; what has come since is left.
                return Err(Interrupted::Fenced);
            }
            retry.position = next;
            if done || begun.elapsed() > TURN {
                return Ok(());
            }
        }
    }

    /// Reacts to `raw` if it waits behind `stream` alone; says why, if it is poison still.
    async fn react(
        &self,
        stream: &StreamId,
        raw: &RawEvent,
    ) -> Result<Option<String>, Interrupted> {
        let Some((key, event)) = read::<P>(raw) else {
            return Ok(None);
        };
        if key != *stream && raw.stream != *stream {
            return Ok(None);
        }
        // An event can wait behind what it concerns and behind its own stream: whichever of the two
        // is set free last sees to it.
        let other = if key == *stream { &raw.stream } else { &key };
        let since = self.parked.since(other).filter(|_| other != stream);
        if since.is_some_and(|since| since <= raw.position) {
            return Ok(None);
        }
        match event {
            Err((_, reason)) => Ok(Some(reason)),
            Ok(event) => match self.process.react(&event).await {
                Ok(()) => Ok(None),
                Err(Trouble::Passing(reason)) => Err(Interrupted::Passing(reason)),
                Err(Trouble::Poison(reason)) => Ok(Some(reason)),
            },
        }
    }
}
