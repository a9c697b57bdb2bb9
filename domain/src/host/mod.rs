//! Hosts: what the machines we run on amount to, sampled now and then. Samples are facts: nobody
//! decides whether they happened, so there is no decider here, only validation at the edge and an
//! identity that makes the same sample the same event.
//!
//! Stream: `host-{name}`.

mod name;
mod sample;

use serde::{Deserialize, Serialize};

use eventsourcing::Context;
use eventsourcing::StreamId;

pub use name::{HostName, InvalidHostName};
pub use sample::{InvalidSample, Memory, Sample, Storage};

/// Category of the streams of hosts.
pub const HOST: &str = "host";

const TYPES: &[(&str, i16)] = &[("host_sampled", 1)];

pub const CONTEXT: Context =
    Context { name: "host", categories: &[HOST], events: &[TYPES], deciders: &[] };

/// What was seen of hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    HostSampled(Sample),
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// The stream of one host.
pub fn stream(host: &HostName) -> StreamId {
    StreamId::new(HOST, host)
}

#[cfg(test)]
mod tests;
