//! A subscription: the log from one position on, for ever. It reads from memory what is recent and
//! from Postgres what is not, at its own pace; nobody waits for it.

use std::sync::Arc;

use domain::Position;
use tokio::sync::watch;

use crate::ring::Ring;
use crate::{EventStore, Filter, RawEvent, Unavailable};

/// A stretch of the log, as a subscription delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub events: Vec<Arc<RawEvent>>,
    /// Every wanted event up to here is in this batch or was in one before it.
    pub through: Position,
}

/// A reader of the log. Made by [`crate::Feed::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    pub(crate) store: EventStore,
    pub(crate) ring: Arc<Ring>,
    pub(crate) head: watch::Receiver<Position>,
    pub(crate) filter: Filter,
    pub(crate) position: Position,
}

impl Subscription {
    /// Waits until the log goes on behind this subscription's position, and returns what follows,
    /// at most `limit` events: possibly none, when nothing of it was wanted. Moves the position.
    /// Cancel-safe; after an error it can be called again.
    pub async fn next(&mut self, limit: usize) -> Result<Batch, Unavailable> {
        let limit = limit.max(1);
        let ahead = |head: &Position| *head > self.position;
        let head = self.head.wait_for(ahead).await.map(|head| *head);
        // The feed ends with the process.
        let head = head.map_err(|_closed| Unavailable(sqlx::Error::PoolClosed))?;
        let batch = match self.ring.after(self.position, &self.filter, limit) {
            Some(batch) if batch.through > self.position => batch,
            _ => self.read(head, limit).await?,
        };
        self.position = batch.through;
        Ok(batch)
    }

    async fn read(&self, head: Position, limit: usize) -> Result<Batch, Unavailable> {
        let page = self.store.read(self.position, head, &self.filter, limit).await?;
        Ok(Batch { events: page.events.into_iter().map(Arc::new).collect(), through: page.through })
    }

    /// Everything wanted up to here has been delivered.
    pub fn position(&self) -> Position {
        self.position
    }
}
