//! The event store: one Postgres log with gapless, commit-ordered positions, and the NATS
//! JetStream stream that carries it to whoever listens. It knows no business context.
//!
//! - [`EventStore::append`]: one request, judged and committed together with whatever else waits.
//! - [`EventStore::read`], [`EventStore::read_stream`]: pages of bounded size.
//! - [`Feed`] and [`Subscription`]: the one way to follow the log.
//! - [`Relay`]: publishes the log to the bus, in order.

mod append;
mod appender;
mod batch;
mod bus;
mod chain;
mod checkpoint;
mod copy;
mod feed;
mod heard;
mod lease;
mod message;
mod judge;
mod memory;
pub mod parked;
mod migrate;
mod prepared;
mod raw;
mod read;
mod receipt;
mod relay;
mod retell;
mod ring;
pub mod snapshot;
mod subscription;
mod tail;
pub mod traced;
mod verify;
#[cfg(test)]
mod pinned;

pub use append::{Append, AppendError, Appended, ExpectedVersion, NewEvent, StreamAppend};
pub use appender::{BATCH_BYTES, BATCH_EVENTS, MAX_REQUEST_BYTES};
pub use bus::{Bus, BusError, BusOptions, HEAD_SUBJECT, Heads, STREAM, SUBJECTS, announcer};
pub use chain::{EventHash, link};
pub use checkpoint::Checkpoint;
pub use copy::CopyRows;
pub use feed::{Feed, Source};
pub use migrate::{begin_epoch, migrate, pool, set_application_password};
pub use raw::RawEvent;
pub use read::{Filter, PAGE_BYTES, Page};
pub use receipt::{NewReceipt, RECEIPT_DAYS, Receipt};
pub use relay::{ContextOf, Relay};
pub use retell::{REPLAY, Retold, retell};
pub use ring::RING_BYTES;
pub use subscription::{Batch, Subscription};
pub use verify::{Finding, Link, Walk};

use domain::Position;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle on the log; clones share the process's one appender.
#[derive(Debug, Clone)]
pub struct EventStore {
    pool: PgPool,
    appender: appender::Handle,
    committed: watch::Receiver<Position>,
}

impl EventStore {
    /// Opens the log and starts the process's appender on `tasks`. It stops taking requests when
    /// `shutdown` is cancelled, after it has finished those it took.
    pub fn open(pool: PgPool, tasks: &TaskTracker, shutdown: CancellationToken) -> Self {
        let (appender, committed) = appender::spawn(&pool, tasks, shutdown);
        Self { pool, appender, committed }
    }

    /// Connections for reading; appends use one of their own.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The last position this process committed: a wake-up, not a truth. Other processes commit
    /// too; [`EventStore::head`] asks the log.
    pub fn committed(&self) -> watch::Receiver<Position> {
        self.committed.clone()
    }
}

/// A failure of the database under the log, not of what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the log is not reachable")]
pub struct Unavailable(#[from] pub sqlx::Error);
