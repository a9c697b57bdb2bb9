//! The roles of a process. Each is a function that runs until shutdown. It retries while a server
//! that it needs is down, so it fails only if its configuration is wrong.

mod fulfilment;
mod http;
mod mqtt;
mod presence;
mod projector;
mod relay;
mod worker;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::ProcessRole;
use crate::parts::Parts;
use crate::tokens::Keys;

/// Runs `role` until `shutdown`. The HTTP role needs its listener, which is bound beforehand so that
/// its address is known.
pub(crate) async fn run(
    role: ProcessRole,
    parts: Parts,
    listener: Option<(TcpListener, Keys)>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(%role, "role started");
    match (role, listener) {
        (ProcessRole::Http, Some((listener, keys))) => {
            http::run(parts, listener, keys, shutdown).await
        }
        (ProcessRole::Http, None) => anyhow::bail!("the role http has no listener"),
        (ProcessRole::Mqtt, _) => Box::pin(mqtt::run(parts, shutdown)).await,
        (ProcessRole::Relay, _) => relay::run(parts, shutdown).await,
        (ProcessRole::Projector, _) => projector::run(parts, shutdown).await,
        (ProcessRole::Worker, _) => Box::pin(worker::run(parts, shutdown)).await,
    }
}
