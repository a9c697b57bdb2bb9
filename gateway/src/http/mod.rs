//! The HTTP API. A route reads its request into domain types, hands it over and writes the answer;
//! what all of them share is beside them here.

mod alerts;
pub mod asyncapi;
mod bucket;
mod caller;
mod documents;
mod events;
mod extract;
mod health;
mod host;
pub mod event_view;
mod openapi;
mod orders;
mod page;
mod state_at;
mod page_views;
mod parked;
mod problem;
mod projections;
mod projects;
mod receipt;
mod sse;
mod telemetry;
mod text;
mod request_trace;
mod causation;
mod users;
mod wait;
mod works;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ::projections::Waiter;
use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use commands::Handlers;
use eventstore::{EventStore, Feed};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::bridge::Accounting;
use crate::host_metrics;
use crate::tokens::Keys;
pub use projections::Rebuilds;

/// Groups of routes in the document.
mod tags {
    pub(super) const ALERTS: &str = "alerts";
    pub(super) const DOCUMENTS: &str = "documents";
    pub(super) const ORDERS: &str = "orders";
    pub(super) const PROJECTS: &str = "projects";
    pub(super) const TASKS: &str = "tasks";
    pub(super) const WORKS: &str = "works";
    pub(super) const HOST: &str = "host";
    pub(super) const TELEMETRY: &str = "telemetry";
    pub(super) const PAGE_VIEWS: &str = "page views";
    pub(super) const EVENTS: &str = "events";
    pub(super) const USERS: &str = "users";
    pub(super) const OPERATIONS: &str = "operations";
}

/// What handlers work with.
#[derive(Debug)]
pub struct Api {
    pub store: EventStore,
    pub feed: Feed,
    /// Whether the bus is there.
    pub bus: watch::Receiver<bool>,
    /// The bridge's books, if this process runs it.
    pub bridge: Option<Arc<Accounting>>,
    pub handlers: Handlers,
    pub wait: Waiter,
    /// Rebuilds that were asked for here.
    pub rebuilds: Rebuilds,
    pub keys: Keys,
    /// The machine we run on.
    pub host: host_metrics::Reader,
    /// How long an order may be pending.
    pub order_ttl: Duration,
    /// How long an access token holds.
    pub access_token_ttl: Duration,
    /// It could serve once.
    pub started: AtomicBool,
    pub shutdown: CancellationToken,
}

impl Api {
    fn bus_is_up(&self) -> bool {
        *self.bus.borrow()
    }
}

/// Limits on requests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body: usize,
    /// Time until an answer begins.
    pub time: Duration,
}

/// What needs a token: one line a context.
fn guarded() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .merge(alerts::routes())
        .merge(documents::routes())
        .merge(orders::routes())
        .merge(projects::routes())
        .merge(works::routes())
        .merge(telemetry::routes())
        .merge(page_views::routes())
        .merge(host::routes())
        .merge(users::routes())
        .merge(events::routes())
        .merge(causation::routes())
        .merge(parked::routes())
        .merge(projections::routes())
}

/// What anybody may call. Each of these says `security(())`.
fn open() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(asyncapi::routes())
        .merge(users::open_routes())
        .merge(page_views::open_routes())
}

/// The document about all of it.
pub fn document() -> utoipa::openapi::OpenApi {
    let routes =
        OpenApiRouter::<Arc<Api>>::with_openapi(openapi::base()).merge(guarded()).merge(open());
    openapi::complete(routes.into_openapi())
}

/// The whole server.
pub fn router(api: Arc<Api>, limits: Limits) -> Router {
    let authenticate = middleware::from_fn_with_state(Arc::clone(&api), caller::authenticate);
    let (guarded, _) = guarded().route_layer(authenticate).split_for_parts();
    let (open, _) = open().split_for_parts();
    Router::new()
        .merge(guarded)
        .merge(open)
        .with_state(api)
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document()))
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn_with_state(limits.time, request_trace::layer))
}

#[cfg(test)]
mod tests;
