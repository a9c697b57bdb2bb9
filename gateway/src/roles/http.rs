//! The role `http`: serves the API.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use commands::Handlers;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::host_metrics;
use crate::http::{Api, Limits, Rebuilds, router};
use crate::parts::Parts;
use crate::tokens::Keys;

/// Serves until `shutdown`, which answers requests in progress and ends event streams.
pub(super) async fn run(
    parts: Parts,
    listener: TcpListener,
    keys: Keys,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let limits = Limits {
        body: parts.config.http.http_body_limit as usize,
        time: parts.config.http.http_timeout.0,
    };
    let api = Api {
        handlers: Handlers::new(&parts.store),
        store: parts.store,
        feed: parts.feed,
        bus: parts.bus.connected(),
        bridge: parts.bridge,
        wait: parts.wait,
        rebuilds: Rebuilds::new(parts.tasks),
        keys,
        host: host_metrics::Reader::default(),
        order_ttl: parts.config.orders.order_ttl.0,
        access_token_ttl: parts.config.tokens.access_token_ttl.0,
        started: AtomicBool::new(false),
        shutdown: shutdown.clone(),
    };
    axum::serve(listener, router(Arc::new(api), limits))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await?;
    Ok(())
}
