//! Retries a parked stream on an operator's request: its events from the one that failed to the
//! checkpoint are handled, in order, page by page. The last page frees the stream under the lock of
//! the checkpoint, so no event falls between the retry and the batches that follow. See ADR 13.

use std::sync::Arc;
use std::time::Duration;

use eventsourcing::Position;
use tokio::time::Instant;

use super::backoff::{Stretch, halves};
use super::consumer::{ConsumeError, Consumer, StreamReader};
use super::parked::{self, Parked, Retry};
use super::runner::Runner;
use crate::RawEvent;

/// How long the batches wait for retries at a heartbeat; the rest follows at the next one.
const TURN: Duration = Duration::from_secs(1);

impl<C: Consumer> Runner<'_, C> {
    /// Retries the streams that an operator asked for, in the order of the requests, for a turn.
    pub(super) async fn retry_requested(&mut self) -> Result<(), ConsumeError> {
        let begun = Instant::now();
        let pool = self.store.pool().clone();
        parked::forget_passed(&pool, self.consumer.name()).await?;
        let streams = parked::requested(&pool, self.consumer.name()).await?;
        self.parked = Parked::load(&pool, self.consumer.name()).await?;
        for stream in streams {
            if begun.elapsed() > TURN {
                break;
            }
            if let Some(retry) = parked::begin(&pool, self.consumer.name(), &stream).await? {
                self.retry(retry, begun).await?;
            }
            self.parked = Parked::load(&pool, self.consumer.name()).await?;
        }
        Ok(())
    }

    async fn retry(&mut self, mut retry: Retry, begun: Instant) -> Result<(), ConsumeError> {
        let until = self.checkpoint;
        let after = Position(retry.position.0 - 1);
        let mut reader =
            StreamReader::open(&self.store, retry.stream.clone(), after, until).await?;
        loop {
            let page = self.consumer.read_parked(&mut reader).await?;
            let waiting = page.events.into_iter().filter(|event| self.waits_for(&retry, event));
            let events: Vec<_> = waiting.map(Arc::new).collect();
            let mut stretches = vec![(&events[..], page.through)];
            while let Some(stretch) = stretches.pop() {
                let error = match self.reapply(&mut retry, stretch, until).await {
                    Ok(true) => continue,
                    Ok(false) => return Ok(()),
                    Err(error) => error,
                };
                let Some(refusal) = error.refusal() else {
                    return Err(error);
                };
                if let Some([left, right]) = halves(stretch) {
                    stretches.extend([right, left]);
                } else if let [event] = stretch.0 {
                    let mut connection = self.store.pool().acquire().await?;
                    let (name, position) = (self.consumer.name(), event.position);
                    parked::park_again(&mut connection, name, &retry, position, refusal).await?;
                    return Ok(());
                } else {
                    return Err(error);
                }
            }
            if begun.elapsed() > TURN {
                return Ok(());
            }
            reader.after = page.through;
        }
    }

    /// Whether `event` waits for `retry` alone. An event waits behind its key and behind its own
    /// stream; whichever of the two is freed last handles it.
    fn waits_for(&self, retry: &Retry, event: &RawEvent) -> bool {
        let waits_elsewhere = [&event.stream, &*self.consumer.key(event)]
            .into_iter()
            .any(|key| *key != retry.stream && self.parked.waits(key, event.position));
        !waits_elsewhere && !self.parked.skips(event.position)
    }

    /// Handles a stretch of the parked stream and commits its effects and the progress of `retry`
    /// together. The stream is free if the stretch reaches `until`, and parked again if one of its
    /// events fails again. True if there is more to retry.
    async fn reapply(
        &mut self,
        retry: &mut Retry,
        (events, through): Stretch<'_>,
        until: Position,
    ) -> Result<bool, ConsumeError> {
        let after = Position(retry.position.0 - 1);
        let failed = self.consumer.retry(&retry.stream, after, events, &self.parked).await?;
        let failed = failed.into_iter().min_by_key(|failed| failed.position);
        let name = self.consumer.name().to_owned();
        let next = Position(through.0 + 1);
        let mut transaction = self.session.begin().await?;
        let connection = &mut *transaction;
        if !parked::lock(connection, &name, retry).await? {
            return Err(ConsumeError::Fenced);
        }
        self.consumer.commit(connection).await?;
        let (done, mut fenced) = (through >= until, false);
        if let Some(failed) = &failed {
            parked::park_again(connection, &name, retry, failed.position, &failed.error).await?;
        } else if !done || !parked::finish(connection, &name, retry, until).await? {
            parked::progress(connection, &name, retry, next).await?;
            // Another process has moved the checkpoint on: what has come since is left.
            fenced = done;
        }
        transaction.commit().await?;
        self.consumer.committed(self.checkpoint);
        retry.position = next;
        if fenced { Err(ConsumeError::Fenced) } else { Ok(failed.is_none() && !done) }
    }
}
