//! What orchestrators and monitors ask: does it live, can it serve, has it started, its figures.
//! Open to all: nothing here is anybody's data.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{Api, tags};

/// A database that takes longer to say where the log ends is not ready.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(startupz))
        .routes(routes!(figures))
}

/// How this process is.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    status: Level,
    dependencies: Vec<Dependency>,
}

/// Something this process depends on.
#[derive(Debug, Serialize, ToSchema)]
struct Dependency {
    name: &'static str,
    status: Level,
    /// Without it nothing can be served. Without the others everything goes on, if slower.
    required: bool,
    /// What is wrong with it, where that is known.
    reason: Option<String>,
}

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

async fn look(api: &Api) -> Health {
    let asked = tokio::time::timeout(PATIENCE, api.store.head()).await;
    let database = asked.is_ok_and(|head| head.is_ok());
    if database {
        api.started.store(true, Ordering::Relaxed);
    }
    let serving = database && !api.shutdown.is_cancelled();
    let depends = |name, up, required| {
        let status = Level::of(up);
        Dependency { name, status, required, reason: None }
    };
    let mut dependencies =
        vec![depends("postgres", database, true), depends("nats", api.bus_is_up(), false)];
    if let Some(bridge) = &api.bridge {
        let reason = bridge.trouble();
        dependencies.push(Dependency {
            reason: reason.clone(),
            ..depends("mqtt", reason.is_none(), false)
        });
    }
    Health { status: Level::of(serving), dependencies }
}

fn answer(health: Health, serves: bool) -> Result<Json<Health>, Problem> {
    if serves {
        return Ok(Json(health));
    }
    let dependencies = serde_json::to_value(&health.dependencies).unwrap_or_default();
    let detail = "this process cannot serve now";
    Err(Problem::unavailable("not_ready", detail).member("dependencies", dependencies))
}

/// Does the process live?
#[utoipa::path(
    get, path = "/livez", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "It does", body = Health)),
)]
async fn livez() -> Json<Health> {
    Json(Health { status: Level::Up, dependencies: Vec::new() })
}

/// Can it serve?
#[utoipa::path(
    get, path = "/readyz", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "It can", body = Health)),
)]
async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    let health = look(&api).await;
    let serves = health.status == Level::Up;
    answer(health, serves)
}

/// Has it started?
#[utoipa::path(
    get, path = "/startupz", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "It has", body = Health)),
)]
async fn startupz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    let health = look(&api).await;
    let started = api.started.load(Ordering::Relaxed);
    answer(health, started)
}

/// Metrics in Prometheus' text form
#[utoipa::path(
    get, path = "/metrics", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The figures now", body = String,
        content_type = "text/plain")),
)]
async fn figures(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let form = "text/plain; version=0.0.4; charset=utf-8";
    let mut text = crate::metrics::render();
    // Without the database there are none: old ones would look as if all were well.
    let consumers = crate::consumer_names();
    let asked = tokio::time::timeout(PATIENCE, projections::statuses(&api.store, &consumers)).await;
    if let Ok(Ok(statuses)) = asked {
        text.push_str(&crate::lag_metrics::render(&statuses));
    }
    ([(header::CONTENT_TYPE, form)], text)
}
