//! Consumers of the log: checkpoints, leases, snapshots, parked streams, and the relay.

pub(crate) mod checkpoint;
pub(crate) mod head_announcer;
pub(crate) mod lease;
pub mod parked;
pub(crate) mod relay;
pub mod snapshot;
