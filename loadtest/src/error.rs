//! Why a run has no report.

use eventsourcing::Position;
use eventstore::Unavailable;
use mqtt::{ConnectionError, OptionsError};

use super::settings::InvalidSetting;

/// Why a run has no report. A failure that a run outlives is counted in the report instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings make no run.
    #[error("invalid settings")]
    Settings(Vec<InvalidSetting>),
    /// A request to the HTTP API failed.
    #[error("request to the HTTP API failed")]
    Api(#[from] client::Error),
    /// The broker's options are invalid.
    #[error("invalid options of the broker")]
    Options(#[from] OptionsError),
    /// A device's first connection failed.
    #[error("cannot connect to the broker")]
    Broker(#[from] ConnectionError),
    /// The log cannot be read.
    #[error("cannot read the log")]
    Log(#[from] Unavailable),
    /// An event of the run's devices is not a reading.
    #[error("the event at position {position} is not a reading")]
    NotAReading {
        /// Its position.
        position: Position,
        /// The cause.
        source: serde_json::Error,
    },
    /// The runtime of the senders could not be created.
    #[error("cannot start the senders")]
    Runtime(#[source] std::io::Error),
    /// A defect of the load test.
    #[error("a sender panicked")]
    Panicked(#[from] tokio::task::JoinError),
}
