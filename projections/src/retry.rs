//! A parked stream is tried again: its events from where it stopped to the checkpoint are applied,
//! in order, in stretches of bounded size. The last of them sets it free under the lock of the
//! checkpoint, so no event of it falls between this and the batches that follow.

use std::time::Duration;

use eventsourcing::{Position, Version};
use eventstore::parked::{self, Retry};
use eventstore::{EventStore, RawEvent};
use sqlx::Connection as _;
use tokio::time::Instant;

use crate::projection::{Projection, project};
use crate::runner::{Failure, Interrupted, Runner};
use crate::schema;

/// Events of the stream applied at once.
const STRETCH: usize = 500;
/// How long everything else waits for it at one heartbeat.
const TURN: Duration = Duration::from_secs(1);

impl<P: Projection> Runner<P> {
    /// Goes on with `retry`, for a turn; what is left has its turn at the next heartbeat.
    pub(crate) async fn retry(
        &mut self,
        store: &EventStore,
        mut retry: Retry,
    ) -> Result<(), Interrupted> {
        let begun = Instant::now();
        let before = Position(retry.position.0 - 1);
        let before = store.last_of_streams(std::slice::from_ref(&retry.stream), before).await?;
        let mut version = before.first().map_or(Version::NONE, |event| event.version);
        loop {
            let mut events = store.read_stream(&retry.stream, version, STRETCH).await?;
            // Short of what was asked for, it may be for its size: only nothing is the end.
            let mut done = events.is_empty();
            if let Some(beyond) = events.iter().position(|event| event.position > self.position) {
                events.truncate(beyond);
                done = true;
            }
            match self.reapply(&mut retry, &events, done).await {
                Ok(()) if done => return Ok(()),
                Ok(()) => {}
                Err(Failure::Interrupted(error)) => return Err(error),
                Err(_) if events.len() > 1 => {
                    // One of them. A stretch is short enough to go through it event by event.
                    for event in &events {
                        if !self.reapply_one(&mut retry, event).await? {
                            return Ok(());
                        }
                    }
                }
                Err(failure) => {
                    let position = events.first().map_or(retry.position, |event| event.position);
                    return self.park_again(&retry, position, &failure).await;
                }
            }
            if begun.elapsed() > TURN {
                return Ok(());
            }
            version = events.last().map_or(version, |event| event.version);
        }
    }

    /// Applies one event; false if it failed, and the stream is parked there.
    async fn reapply_one(
        &mut self,
        retry: &mut Retry,
        event: &RawEvent,
    ) -> Result<bool, Interrupted> {
        match self.reapply(retry, std::slice::from_ref(event), false).await {
            Ok(()) => Ok(true),
            Err(Failure::Interrupted(error)) => Err(error),
            Err(failure) => {
                self.park_again(retry, event.position, &failure).await?;
                Ok(false)
            }
        }
    }

    async fn park_again(
        &mut self,
        retry: &Retry,
        position: Position,
        failure: &Failure,
    ) -> Result<(), Interrupted> {
        let error = parked::reason(failure);
        parked::again(&mut self.connection, P::NAME, retry, position, &error).await?;
        Ok(())
    }

    /// Applies `events` and notes it in the row, in one transaction; when it is `done`, the stream
    /// is free.
    async fn reapply(
        &mut self,
        retry: &mut Retry,
        events: &[RawEvent],
        done: bool,
    ) -> Result<(), Failure> {
        let wanted: Vec<&RawEvent> =
            events.iter().filter(|event| !self.parked.skips(event.position)).collect();
        let any = !wanted.is_empty();
        let changes = project::<P>(wanted)?;
        let next = events.last().map_or(retry.position, |last| Position(last.position.0 + 1));
        let mut transaction = self.connection.begin().await?;
        // Under this lock no rebuilt model takes the place of the one that is written to.
        sqlx::query("select from log.checkpoint where consumer = $1 for update")
            .bind(P::NAME)
            .execute(&mut *transaction)
            .await?;
        if schema::oid(&mut transaction, &self.name).await? != Some(self.schema) {
            return Err(Failure::Interrupted(Interrupted::Replaced));
        }
        if !parked::lock(&mut transaction, P::NAME, retry).await? {
            return Err(Failure::Interrupted(Interrupted::Fenced));
        }
        if any {
            P::write(changes, &mut transaction).await?;
        }
        if done {
            if !parked::finish(&mut transaction, P::NAME, retry, self.position).await? {
                return Err(Failure::Interrupted(Interrupted::Fenced));
            }
        } else {
            parked::progress(&mut transaction, P::NAME, retry, next).await?;
        }
        transaction.commit().await?;
        retry.position = next;
        Ok(())
    }
}
