//! Liveness, readiness, startup and metrics, for orchestrators and monitoring. Open to all callers:
//! the responses hold no data of users.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::prelude::*;

/// Longest wait for Postgres; a database that takes longer is not ready.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(startupz))
        .routes(routes!(metrics))
}

/// The health of this process.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `up` if this process can serve requests.
    status: Level,
    /// What this process depends on; empty for `/livez`.
    dependencies: Vec<Dependency>,
}

/// A server that this process depends on.
#[derive(Debug, Serialize, ToSchema)]
struct Dependency {
    /// `postgres`, `nats` or `mqtt`.
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

async fn check(api: &Api) -> Health {
    let head = tokio::time::timeout(TIMEOUT, api.store.head()).await;
    let database = head.is_ok_and(|head| head.is_ok());
    if database {
        api.started.store(true, Ordering::Relaxed);
    }
    let serving = database && !api.shutdown.is_cancelled();
    let dependency = |name, up, required| {
        let status = Level::of(up);
        Dependency { name, status, required, reason: None }
    };
    let nats = *api.bus.borrow();
    let mut dependencies =
        vec![dependency("postgres", database, true), dependency("nats", nats, false)];
    if let Some(bridge) = &api.bridge {
        let reason = bridge.trouble();
        let up = reason.is_none();
        dependencies.push(Dependency { reason, ..dependency("mqtt", up, false) });
    }
    Health { status: Level::of(serving), dependencies }
}

fn respond(health: Health, ready: bool) -> Result<Json<Health>, Problem> {
    if ready {
        return Ok(Json(health));
    }
    let dependencies = serde_json::to_value(&health.dependencies).unwrap_or_default();
    let detail = "this process cannot serve requests now; `dependencies` shows what is down";
    Err(Problem::unavailable("not_ready", detail).member("dependencies", dependencies))
}

/// Check liveness
///
/// Succeeds as long as the process responds.
#[utoipa::path(
    get, path = "/livez", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The process is alive", body = Health)),
)]
async fn livez() -> Json<Health> {
    Json(Health { status: Level::Up, dependencies: Vec::new() })
}

/// Check readiness
///
/// Succeeds if the process can serve requests: Postgres is available and no shutdown has begun.
#[utoipa::path(
    get, path = "/readyz", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The process can serve requests", body = Health)),
)]
async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    let health = check(&api).await;
    let ready = health.status == Level::Up;
    respond(health, ready)
}

/// Check startup
///
/// Succeeds once Postgres has been available since the process started.
#[utoipa::path(
    get, path = "/startupz", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The process has started", body = Health)),
)]
async fn startupz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    let health = check(&api).await;
    respond(health, api.started.load(Ordering::Relaxed))
}

/// Show the metrics of this process
///
/// In the Prometheus text format.
#[utoipa::path(
    get, path = "/metrics", tag = tags::OPERATIONS, security(()), operation_id = "figures",
    responses((status = 200, description = "The metrics", body = String,
        content_type = "text/plain")),
)]
async fn metrics(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    let mut text = crate::metrics::render();
    // No lag without the database: old values would hide the outage.
    let consumers = crate::consumer_names();
    let statuses = projections::statuses(&api.store, &consumers);
    if let Ok(Ok(statuses)) = tokio::time::timeout(TIMEOUT, statuses).await {
        text.push_str(&crate::lag_metrics::render(&statuses));
    }
    ([(header::CONTENT_TYPE, content_type)], text)
}
