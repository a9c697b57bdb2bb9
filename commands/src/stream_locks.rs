//! Locks by stream: of what one process does to one stream, one thing at a time.

use std::hash::{DefaultHasher, Hash, Hasher};

use eventsourcing::StreamId;
use tokio::sync::{Mutex, MutexGuard};

/// Number of locks; streams that share one wait for each other, which costs time only.
const LOCKS: usize = 64;

/// A fixed number of locks, each for the streams of one hash.
#[derive(Debug)]
pub(crate) struct StreamLocks(Box<[Mutex<()>]>);

impl StreamLocks {
    pub(crate) fn new() -> Self {
        Self((0..LOCKS).map(|_| Mutex::default()).collect())
    }

    /// Waits for the lock of `stream`.
    pub(crate) async fn lock(&self, stream: &StreamId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        stream.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default();
        self.0[index].lock().await
    }
}
