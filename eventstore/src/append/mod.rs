//! Appending: requests of all callers, committed together in one transaction (group commit).

pub(crate) mod receipt;
pub(crate) mod request;
pub(crate) mod outcome;
mod prepared;
mod conflict_check;
mod append_cache;
mod batch;
mod head_lock;
pub(crate) mod health;
pub(crate) mod group_commit;
pub(crate) mod appender;
