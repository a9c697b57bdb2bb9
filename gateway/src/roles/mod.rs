//! The roles a process can play. Each is one function that runs until `shutdown`; outages of the
//! servers it needs are waited out, so an error means that it was set up wrongly.

mod fulfilment;
mod http;
mod mqtt;
mod presence;
mod projector;
mod relay;
mod worker;

pub(crate) use relay::NAME as RELAY;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::ProcessRole;
use crate::parts::Parts;
use crate::tokens::Keys;

/// Plays `role` until `shutdown`. HTTP is handed what it listens on, so that the address is known
/// before it runs.
pub(crate) async fn run(
    role: ProcessRole,
    parts: Parts,
    listener: Option<(TcpListener, Keys)>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(%role, "starts");
    match (role, listener) {
        (ProcessRole::Http, Some((listener, keys))) => {
            http::run(parts, listener, keys, shutdown).await
        }
        (ProcessRole::Http, None) => anyhow::bail!("there is nothing to listen on"),
        (ProcessRole::Mqtt, _) => mqtt::run(parts, shutdown).await,
        (ProcessRole::Relay, _) => relay::run(parts, shutdown).await,
        (ProcessRole::Projector, _) => projector::run(parts, shutdown).await,
        (ProcessRole::Worker, _) => Box::pin(worker::run(parts, shutdown)).await,
    }
}
