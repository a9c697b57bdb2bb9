//! The event store: one Postgres log with gapless, commit-ordered positions, and the NATS
//! JetStream stream that carries it to whoever listens. It knows no business context.
//!
//! - [`EventStore::append`]: one request, judged and committed together with whatever else waits.
//! - [`EventStore::read`], [`EventStore::read_stream`]: pages of bounded size.
//! - [`Feed`] and [`Subscription`]: the one way to follow the log.
//! - [`Relay`]: publishes the log to the bus, in order.

mod append;
mod read;
mod consume;
mod bus;
mod chain;
mod copy;
mod migrate;
mod raw;
mod error;
mod traceparent;
pub mod otel;

pub use append::appender::{BATCH_BYTES, BATCH_EVENTS, MAX_REQUEST_BYTES};
pub use append::receipt::{NewReceipt, RECEIPT_DAYS, Receipt};
pub use append::{Append, AppendError, Appended, ExpectedVersion, NewEvent, StreamAppend};
pub use bus::replay::{REPLAY, Retold, retell};
pub use bus::{Bus, BusError, BusOptions, HEAD_SUBJECT, Heads, STREAM, SUBJECTS};
pub use chain::{EventHash, link};
pub use consume::checkpoint::Checkpoint;
pub use consume::head_announcer::announcer;
pub use consume::relay::{ContextOf, Relay};
pub use consume::{parked, snapshot};
pub use copy::CopyRows;
pub use error::Unavailable;
pub use migrate::{begin_epoch, migrate, pool, set_application_password};
pub use raw::RawEvent;
pub use read::feed::{Feed, Source};
pub use read::ring_buffer::RING_BYTES;
pub use read::subscription::{Batch, Subscription};
pub use read::verify::{Finding, Link, Walk};
pub use read::{Filter, PAGE_BYTES, Page};

use eventsourcing::Position;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle on the log; clones share the process's one appender.
#[derive(Debug, Clone)]
pub struct EventStore {
    pool: PgPool,
    appender: append::appender::Handle,
    committed: watch::Receiver<Position>,
}

impl EventStore {
    /// Opens the log and starts the process's appender on `tasks`. It stops taking requests when
    /// `shutdown` is cancelled, after it has finished those it took.
    pub fn open(pool: PgPool, tasks: &TaskTracker, shutdown: CancellationToken) -> Self {
        let (appender, committed) = append::appender::spawn(&pool, tasks, shutdown);
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
