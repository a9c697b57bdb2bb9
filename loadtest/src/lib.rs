//! A load test: publishes as many devices would, on a schedule that nothing slows down, and accounts
//! for every message.
//!
//! The load is an open loop: a message is due at its time whatever happened to earlier ones, and
//! latencies count from then. What a stalled system delays is sent late and measured as late, not
//! left out. At the end the log is read, message by message: an acknowledged message must be stored,
//! exactly once.
//!
//! It needs the HTTP API, the broker and the log of a running system. Its devices belong to users of
//! the run (`load-NAME-u7`), so that runs do not share a device.
mod settings;
mod error;
mod plan;
mod reading;
mod bitset;
mod queue;
mod stats;
mod controls;
mod connection;
mod device;
mod mqtt_sender;
mod http_sender;
mod api;
mod visible;
mod probe;
mod progress;
mod ledger;
mod stored;
mod report;
mod run;

pub use error::Error;
pub use ledger::Sums;
pub use probe::INTERVAL as PROBE_INTERVAL;
pub use progress::Progress;
pub use report::{End, Quantiles, Report};
pub use run::run;
pub use settings::{Api, InvalidSetting, MAX_DEVICES_PER_USER, MAX_RATE, Mode, Settings};
