//! The roles that a process can run.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessRole {
    /// Serve the HTTP API
    Http,
    /// Bridge MQTT: append the messages of devices and publish alerts
    Mqtt,
    /// Publish the log on NATS
    Relay,
    /// Maintain the read models
    Projector,
    /// Execute works, take in demands from NATS, fulfil orders, evaluate alerts, track presence
    Worker,
}

impl ProcessRole {
    /// All roles.
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
