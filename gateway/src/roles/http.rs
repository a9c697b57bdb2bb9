//! The role `http`: serves the API.

use std::sync::Arc;

use chrono::Utc;
use commands::Handlers;
use commands::readings::Repetitions;
use projections::Waiter;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::host_metrics;
use crate::http::{
    Admission, Api, ConnectionLimits, DryRuns, Limits, Process, Rebuilds, Stop, router, serve,
};
use crate::parts::Parts;
use crate::tokens::Keys;
use crate::verification::Verifications;
use crate::vitals;

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
        logged_refusals: parts.config.http.http_log_refusals,
    };
    let connections = ConnectionLimits {
        connections: parts.config.http.http_connections,
        header: parts.config.http.http_header_timeout.0,
    };
    let tasks = parts.tasks.clone();
    let stop = Stop { draining: parts.draining.clone(), shutdown: shutdown.clone() };
    let wait = match &parts.standby {
        Some(standby) => {
            let (log, standby) = (parts.store.reader(), standby.clone());
            Waiter::start_on_standby(log, standby, &parts.tasks, shutdown.clone())
        }
        None => parts.wait.clone(),
    };
    let vitals = vitals::start(&parts, &shutdown);
    let api = Api {
        vitals,
        process: Process {
            config: Arc::clone(&parts.config),
            roles: parts.roles,
            started_at: Utc::now(),
            bus: parts.bus.clone(),
        },
        verifications: Verifications::new(parts.tasks.clone()),
        admission: Arc::new(Admission::new(
            &parts.config.http,
            &parts.config.client_limits,
            parts.backpressure,
        )),
        cors: parts.config.cors.clone(),
        event_tickets: parts.config.event_tickets,
        handlers: Handlers::new(&parts.store),
        repetitions: Repetitions::new(
            parts.store.clone(),
            parts.config.readings.reading_restart_silence.0,
        ),
        store: parts.store,
        feed: parts.feed,
        bus: parts.bus.connected(),
        bridge: parts.bridge,
        standby: parts.standby,
        wait,
        rebuilds: Rebuilds::new(parts.tasks),
        keys,
        one_time_codes: parts.one_time_codes,
        host: host_metrics::Reader::default(),
        dry_runs: DryRuns::new(parts.config.alerts),
        readings: parts.config.readings.limits(),
        order_ttl: parts.config.orders.order_ttl.0,
        access_token_ttl: parts.config.tokens.access_token_ttl.0,
        refresh_grace: parts.config.tokens.refresh_grace.0,
        started: Arc::default(),
        draining: parts.draining,
        shutdown,
    };
    serve(listener, router(Arc::new(api), limits), connections, &tasks, stop).await;
    Ok(())
}
