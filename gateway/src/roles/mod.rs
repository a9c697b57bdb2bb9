//! The roles a process can play. Each is one function that runs until `shutdown`; outages of the
//! servers it needs are waited out, so an error means that it was set up wrongly.

mod fulfilment;
mod http;
mod mqtt;
mod presence;
mod projector;
mod relay;
mod worker;
pub mod demand;

pub(crate) use relay::NAME as RELAY;

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::Parts;
use crate::tokens::Keys;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
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

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Http, Self::Mqtt, Self::Relay, Self::Projector, Self::Worker];
}

impl fmt::Display for Role {
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

/// Plays `role` until `shutdown`. HTTP is handed what it listens on, so that the address is known
/// before it runs.
pub(crate) async fn run(
    role: Role,
    parts: Parts,
    listener: Option<(TcpListener, Keys)>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(%role, "starts");
    match (role, listener) {
        (Role::Http, Some((listener, keys))) => http::run(parts, listener, keys, shutdown).await,
        (Role::Http, None) => anyhow::bail!("there is nothing to listen on"),
        (Role::Mqtt, _) => mqtt::run(parts, shutdown).await,
        (Role::Relay, _) => relay::run(parts, shutdown).await,
        (Role::Projector, _) => projector::run(parts, shutdown).await,
        (Role::Worker, _) => Box::pin(worker::run(parts, shutdown)).await,
    }
}
