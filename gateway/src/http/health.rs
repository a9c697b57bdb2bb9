//! Liveness, readiness, startup and metrics, for orchestrators and monitoring. Health is open to all
//! callers. Metrics are for operators, and open on the address of `--metrics-listen`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{FromRef, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router, middleware};
use chrono::{DateTime, Utc};
use eventstore::{ErrorChain, EventStore, LogReader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::prelude::*;
use super::{request_trace, security_headers};
use crate::bridge::Accounting;

/// Longest wait for the lag of the consumers.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time until a response of the server behind `--metrics-listen` begins.
const RESPONSE_TIME: Duration = Duration::from_secs(10);
/// Refused requests that this server logs per minute.
const LOGGED_REFUSALS: u32 = 60;
/// Why NATS is down. The client pings it every second, and counts three missing answers as the loss
/// of the connection; its log has the cause.
const NATS_DOWN: &str = "NATS has not answered for some seconds, or there is no connection: check \
    that it runs, --nats-url, and the log of this process, which says why";

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(livez)).routes(routes!(readyz)).routes(routes!(startupz))
}

/// The route that requires a token.
pub(super) fn guarded_routes() -> Routes {
    Routes::new().routes(routes!(metrics))
}

/// What the health and the metrics of a process are read from, whichever roles it runs.
#[derive(Debug, Clone)]
pub struct Probes {
    /// The log.
    pub store: EventStore,
    /// Whether this process is connected to NATS.
    pub bus: watch::Receiver<bool>,
    /// Counters of the MQTT bridge, if this process runs it.
    pub bridge: Option<Arc<Accounting>>,
    /// The standby that answers queries, if one is configured.
    pub standby: Option<LogReader>,
    /// Set after the first successful readiness check.
    pub started: Arc<AtomicBool>,
    /// Cancelled when the process begins to drain.
    pub draining: CancellationToken,
}

impl FromRef<Arc<Api>> for Probes {
    fn from_ref(api: &Arc<Api>) -> Self {
        Self {
            store: api.store.clone(),
            bus: api.bus.clone(),
            bridge: api.bridge.clone(),
            standby: api.standby.clone(),
            started: Arc::clone(&api.started),
            draining: api.draining.clone(),
        }
    }
}

/// The server behind `--metrics-listen`: the routes of this file, without a token.
pub fn router(probes: Probes) -> Router {
    let traced = request_trace::Options::new(RESPONSE_TIME, LOGGED_REFUSALS);
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/metrics", get(open_metrics))
        .with_state(probes)
        .layer(middleware::from_fn_with_state(traced, request_trace::layer))
        .layer(middleware::map_response(async |mut response: Response| {
            security_headers::add(response.headers_mut());
            response
        }))
}

/// The health of this process.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `up` if this process can serve requests.
    status: Level,
    /// What this process depends on; empty for `/livez`.
    dependencies: Vec<Dependency>,
    /// When this process last committed events; null if it has not since it started, and for
    /// `/livez`.
    last_append_at: Option<DateTime<Utc>>,
    /// How the clocks differ; null before the first measurement, and for `/livez`.
    clock: Option<Clock>,
}

/// Differences of clocks.
#[derive(Debug, Serialize, ToSchema)]
struct Clock {
    /// Seconds that the clock of this process is ahead of that of Postgres; negative if behind.
    skew_seconds: f64,
    /// Seconds that the times of new events are ahead of the clock of Postgres, because they never
    /// fall and do not follow its short leaps; negative if behind.
    correction_seconds: f64,
}

/// A server that this process depends on.
#[derive(Debug, Serialize, ToSchema)]
struct Dependency {
    /// `postgres`, `standby`, which answers queries, `nats`, `mqtt`, or `relay`: the stream `EVENTS`,
    /// which any process may fill.
    name: &'static str,
    /// Whether the server is available.
    status: Level,
    /// Whether this process can serve no request without it. Without the other dependencies it
    /// serves all requests, some later.
    required: bool,
    /// Why the dependency is down, if that is known.
    reason: Option<String>,
}

/// Whether something is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Level {
    Up,
    Down,
}

impl Level {
    fn of(up: bool) -> Self {
        if up { Self::Up } else { Self::Down }
    }
}

async fn check(api: &Probes) -> Health {
    let eventstore::Health { reason, committed_at, clocks } = api.store.health().await;
    let database = reason.is_none();
    if database {
        api.started.store(true, Ordering::Relaxed);
    }
    let mut serving = database && !api.draining.is_cancelled();
    let dependency = |name, reason: Option<String>, required| {
        let status = Level::of(reason.is_none());
        Dependency { name, status, required, reason }
    };
    let nats = (!*api.bus.borrow()).then(|| NATS_DOWN.to_owned());
    let mut dependencies =
        vec![dependency("postgres", reason, true), dependency("nats", nats, false)];
    if let Some(standby) = &api.standby {
        let reason = standby_reason(standby).await;
        serving &= reason.is_none();
        dependencies.push(dependency("standby", reason, true));
    }
    if let Some(bridge) = &api.bridge {
        dependencies.push(dependency("mqtt", bridge.trouble(), false));
    }
    dependencies.extend(relay(api).await);
    let clock = clocks.map(|clocks| Clock {
        skew_seconds: clocks.skew.as_seconds_f64(),
        correction_seconds: clocks.correction.as_seconds_f64(),
    });
    Health { status: Level::of(serving), dependencies, last_append_at: committed_at, clock }
}

/// Why the standby cannot answer queries; none if it can.
async fn standby_reason(standby: &LogReader) -> Option<String> {
    match tokio::time::timeout(TIMEOUT, standby.head()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(ErrorChain(&error).to_string()),
        Err(_elapsed) => Some("it did not answer within 2 s: check --database-read-url".into()),
    }
}

/// Returns what the relay reports, wherever it runs; none while the database does not answer.
async fn relay(api: &Probes) -> Option<Dependency> {
    let statuses = projections::statuses(&api.store, &[eventstore::Relay::NAME]);
    let statuses = tokio::time::timeout(TIMEOUT, statuses).await.ok()?.ok()?;
    let relay = statuses.into_iter().next()?;
    let status = Level::of(relay.error.is_none());
    let reason = relay.error.or(relay.warning);
    Some(Dependency { name: "relay", status, required: false, reason })
}

/// The response of a process that is not ready.
fn not_ready(health: Health, draining: bool) -> Problem {
    let dependencies = serde_json::to_value(&health.dependencies).unwrap_or_default();
    let last_append_at = health.last_append_at.map(|at| at.to_rfc3339());
    let (reason, detail) = if draining {
        ("draining", "this process is draining and shuts down soon; send requests to another one")
    } else {
        let down = "this process cannot serve requests now; `dependencies` shows what is down";
        ("dependency_down", down)
    };
    Problem::unavailable("not_ready", detail)
        .member("reason", reason)
        .member("dependencies", dependencies)
        .member("last_append_at", last_append_at)
}

/// Check liveness
///
/// Succeeds as long as the process responds.
#[utoipa::path(
    get, path = "/livez", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The process is alive", body = Health)),
)]
async fn livez() -> Json<Health> {
    let dependencies = Vec::new();
    Json(Health { status: Level::Up, dependencies, last_append_at: None, clock: None })
}

/// Check readiness
///
/// Succeeds if the process can serve requests: Postgres and the standby for queries, if there is one,
/// are available, the last append succeeded, and the process is not draining, which it does before it
/// shuts down.
#[utoipa::path(
    get, path = "/readyz", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The process can serve requests", body = Health)),
)]
async fn readyz(State(api): State<Probes>) -> Result<Json<Health>, Problem> {
    let health = check(&api).await;
    if health.status == Level::Up {
        return Ok(Json(health));
    }
    Err(not_ready(health, api.draining.is_cancelled()))
}

/// Check startup
///
/// Succeeds once Postgres has been available since the process started.
#[utoipa::path(
    get, path = "/startupz", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The process has started", body = Health)),
)]
async fn startupz(State(api): State<Probes>) -> Result<Json<Health>, Problem> {
    let health = check(&api).await;
    if api.started.load(Ordering::Relaxed) {
        return Ok(Json(health));
    }
    Err(not_ready(health, false))
}

/// Show the metrics of this process
///
/// In the Prometheus text format. On the address of `--metrics-listen`, no token is required.
#[utoipa::path(
    get, path = "/metrics", tag = tags::OPERATIONS, operation_id = "figures",
    responses((status = 200, description = "The metrics", body = String,
        content_type = "text/plain"),
        (status = 403, description = "The caller is not an operator")),
)]
async fn metrics(api: State<Probes>, _: Operator) -> Response {
    open_metrics(api).await
}

/// The metrics, without a token.
async fn open_metrics(State(api): State<Probes>) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics::gauge!("tributary_nats_connected").set(u8::from(*api.bus.borrow()));
    let mut text = crate::metrics::render();
    // No lag without the database: old values would hide the outage. In an outage nothing is asked, so
    // that a scrape does not take as long as the time limit.
    if !api.store.postgres_answers() {
        return ([(header::CONTENT_TYPE, content_type)], text).into_response();
    }
    let consumers = crate::consumer_names();
    let statuses = projections::statuses(&api.store, &consumers);
    if let Ok(Ok(statuses)) = tokio::time::timeout(TIMEOUT, statuses).await {
        text.push_str(&crate::lag_metrics::render(&statuses));
    }
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
