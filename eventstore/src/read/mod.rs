//! Reading: pages and streams from Postgres, the feed that follows the log, verification,
//! and what a check of a backup compares.

pub(crate) mod filter;
pub(crate) mod page;
pub(crate) mod log_reader;
pub(crate) mod head_watch;
pub(crate) mod ring_buffer;
pub(crate) mod subscription;
pub(crate) mod feed;
pub(crate) mod verify;
pub(crate) mod log_verification;
pub(crate) mod server_info;
pub(crate) mod prefix;
pub(crate) mod wal_archive;

pub(crate) use filter::ALL;
