//! The roles that one process can run.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessRole {
    /// Serves the API
    Http,
    /// Takes what devices publish
    Mqtt,
    /// Publishes the log to the bus
    Relay,
    /// Keeps the read models
    Projector,
    /// Does works, takes demands for them from the bus, moves orders along, and watches devices
    Worker,
}

impl ProcessRole {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Http, Self::Mqtt, Self::Relay, Self::Projector, Self::Worker];
}

impl fmt::Display for ProcessRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Mqtt => "mqtt",
            Self::Relay => "relay",
            Self::Projector => "projector",
            Self::Worker => "worker",
        })
    }
}
