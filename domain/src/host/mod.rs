//! Host metrics: periodic samples of the users, storage, memory and load of machines. Samples are
//! facts: they are validated and recorded, and have no decider. The event id is derived from host and
//! time, so a repeated delivery is a duplicate.
//!
//! Stream: `host-{name}`.

mod name;
mod sample;

use serde::{Deserialize, Serialize};

use eventsourcing::Context;
use eventsourcing::StreamId;

pub use name::{HostName, InvalidHostName};
pub use sample::{InvalidSample, Memory, Sample, Storage};

/// Category of the streams of hosts. Published: other contexts may match it.
pub const HOST: &str = "host";

const TYPES: &[(&str, i16)] = &[("host_sampled", 1)];

/// The context of host metrics.
pub const CONTEXT: Context =
    Context { name: "host", categories: &[HOST], events: &[TYPES], deciders: &[] };

/// Events of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A sample of a host was recorded.
    HostSampled(Sample),
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Returns the stream of a host.
pub fn stream(host: &HostName) -> StreamId {
    StreamId::new(HOST, host)
}

#[cfg(test)]
mod tests;
