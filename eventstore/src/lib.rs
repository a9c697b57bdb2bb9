//! An event store on Postgres: one log with gapless, commit-ordered positions, and a NATS JetStream
//! stream that carries it to other processes. It knows no business context.
//!
//! - [`EventStore`]: an [`Appender`] and a [`LogReader`], for processes that append.
//! - [`LogReader`]: pages of bounded size, streams and the head, for processes that only read.
//! - [`Feed`] and [`Subscription`]: follow the log from a position on.
//! - [`Checkpoint`] and [`parked`]: consumers with a stored position and parked streams.
//! - [`Relay`]: publishes the log to the bus, in order.
//!
//! `examples/bank_account.rs` is a complete program.

mod error;
mod tls_fault;
pub mod fault;
mod retry_log;
mod latency;
mod tasks;
mod raw;
mod hash_chain;
mod copy;
mod pool;
mod pool_metrics;
mod migrate;
mod epoch;
mod clock;
mod bus;
mod read;
mod append;
mod monitor;
mod event_store;
pub mod consume;
mod traceparent;
pub mod otel;
#[cfg(test)]
mod pinned;

pub use append::appender::{Appender, MAX_REQUEST_BYTES};
pub use append::group_commit::{BATCH_BYTES, BATCH_EVENTS};
pub use append::outcome::{AppendError, Appended, Known, Placed};
pub use append::receipt::{NewReceipt, RECEIPT_DAYS, Receipt};
pub use append::request::{Append, ExpectedVersion, NewEvent, StreamAppend};
pub use bus::access::{BusAccess, BusAccount, connect_options};
pub use bus::claim::Claim;
pub use bus::connection::{Bus, BusOptions, Heads};
pub use bus::error::{BusError, connection_failure};
pub use bus::event_stream::StreamState;
pub use bus::owner::Owner;
pub use bus::replay::{REPLAY_HEADER, ReplayMessage, replay_message};
pub use bus::subjects::{HEAD_SUBJECT, STREAM, SUBJECTS};
pub use consume::checkpoint::Checkpoint;
pub use consume::head_announcer::announcer;
pub use consume::relay::{ContextOf, Relay, RelayReport};
pub use consume::{deadline, parked, snapshot};
pub use copy::CopyRows;
pub use epoch::begin_epoch;
pub use error::{ErrorChain, Unavailable};
pub use event_store::{EventStore, Health};
pub use hash_chain::{EventHash, event_hash};
pub use latency::Latency;
pub use migrate::{APPLICATION_ROLE, MigrationError, migrate, set_application_password};
pub use monitor::{Clocks, count_refused};
pub use pool::{ConnectOptions, Pool, SessionLimits, pool, reconnects_after};
pub use raw::RawEvent;
pub use read::feed::Feed;
pub use read::filter::Filter;
pub use read::log_reader::LogReader;
pub use read::log_verification::LogVerification;
pub use read::page::{Batch, PAGE_BYTES, Page};
pub use read::prefix::LogAfter;
pub use read::ring_buffer::RING_BYTES;
pub use read::server_info::ServerInfo;
pub use read::subscription::Subscription;
pub use read::verify::{ChainVerifier, Finding, HashedEvent};
pub use read::wal_archive::WalArchive;
pub use retry_log::RetryLog;
pub use tasks::{TaskPanicked, Tasks, caught};
