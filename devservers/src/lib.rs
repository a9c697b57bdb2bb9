//! Private servers for `tributary dev`, tests and benchmarks: Postgres, nats-server and Mosquitto
//! from the installed programs, on loopback, with all files in one directory.
//!
//! Runs in different directories share nothing and can run at the same time; a directory is used by
//! one run at a time. The servers end with the process that started them, in whatever way it ends.

mod account;
mod cluster;
mod error;
mod home;
mod log;
mod orphan;
mod process;
mod programs;
mod server;
mod signal;

pub mod mosquitto;
pub mod nats;
pub mod pgbouncer;
pub mod postgres;
pub mod testing;

#[cfg(test)]
mod tests;

pub use error::{Error, Excerpt, Packages};
pub use mosquitto::Mosquitto;
pub use nats::Nats;
pub use pgbouncer::Pgbouncer;
pub use postgres::Postgres;

use std::path::Path;

/// The three servers that Tributary needs; killed when dropped.
pub struct Servers {
    /// The database.
    pub postgres: Postgres,
    /// The bus.
    pub nats: Nats,
    /// The MQTT broker.
    pub mosquitto: Mosquitto,
}

/// Options of the three servers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Options of the database.
    pub postgres: postgres::Options,
    /// Options of the bus.
    pub nats: nats::Options,
    /// Options of the MQTT broker.
    pub mosquitto: mosquitto::Options,
}

impl Servers {
    /// Starts all three concurrently, each in its own directory under `directory`.
    pub async fn start(directory: &Path) -> Result<Self, Error> {
        Self::start_with(directory, Options::default()).await
    }

    /// Starts all three concurrently with the given options.
    pub async fn start_with(directory: &Path, options: Options) -> Result<Self, Error> {
        let Options { postgres, nats, mosquitto } = options;
        let homes = ["postgres", "nats", "mosquitto"].map(|name| directory.join(name));
        let (postgres, nats, mosquitto) = tokio::try_join!(
            Postgres::start(&homes[0], postgres),
            Nats::start(&homes[1], nats),
            Mosquitto::start(&homes[2], mosquitto),
        )?;
        Ok(Self { postgres, nats, mosquitto })
    }

    /// Shuts all three down.
    pub async fn stop(self) {
        let Self { mut postgres, mut nats, mut mosquitto } = self;
        tokio::join!(postgres.stop(), nats.stop(), mosquitto.stop());
    }
}
