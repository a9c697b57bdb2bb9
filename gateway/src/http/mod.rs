//! The HTTP API. A route parses its request into domain types, hands them over, and returns the
//! response. This file lists the routes and assembles the server.

mod api;
mod tags;
mod prelude;
mod openapi;
mod operation_ids;
mod request_examples;
pub mod asyncapi;

mod server;
mod request_trace;
mod refusal_log;
mod client_address;
mod rate_limiter;
mod slots;
mod page_view_names;
mod admission;
mod cors;
mod ticket_use;
mod caller;
mod console_request;
mod idempotency;
mod command_context;
mod query_context;
mod headers;
mod entity_tag;
mod receipt;
mod page;
mod problem;
mod extract;
mod content_encoding;
mod negotiation;
mod nul;
mod text;
mod bucket;
mod clock;
mod security_headers;

mod alerts;
mod documents;
mod host;
mod orders;
mod page_views;
mod projects;
mod telemetry;
mod users;
mod works;

mod events;
mod event_tickets;
mod audience;
pub mod event_view;
mod sse;
mod state_at;
mod stream_states;
mod about;
mod verifications;
mod console;
mod causation;
mod health;
mod rest_of_body;
mod root;
mod assets;
mod console_pages;
mod docs;
mod parked;
mod projections;
mod rebuilds;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

pub use admission::Admission;
use api::Routes;
pub use api::{Api, DryRuns, Limits, Process};
pub use health::{Probes, router as probes};
pub use rebuilds::Rebuilds;
pub use server::{ConnectionLimits, Stop, serve};

/// Routes that require a token: one line per context.
fn guarded() -> Routes {
    Routes::new()
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
        .merge(event_tickets::routes())
        .merge(stream_states::routes())
        .merge(console::routes())
        .merge(about::routes())
        .merge(verifications::routes())
        .merge(causation::routes())
        .merge(parked::routes())
        .merge(projections::routes())
        .merge(health::guarded_routes())
}

/// Routes without a token, whose clients are limited by address. Each declares `security(())`.
fn open() -> Routes {
    Routes::new()
        .merge(root::routes())
        .merge(asyncapi::routes())
        .merge(users::open_routes())
        .merge(page_views::open_routes())
}

/// The OpenAPI document of all routes.
pub fn document() -> utoipa::openapi::OpenApi {
    let routes = Routes::with_openapi(openapi::base()).merge(guarded()).merge(open());
    let routes = routes.merge(health::routes());
    openapi::complete(routes.into_openapi())
}

/// The server: all routes, the documentation, and the layers around them.
pub fn router(api: Arc<Api>, limits: Limits) -> Router {
    let authenticate = middleware::from_fn_with_state(Arc::clone(&api), caller::authenticate);
    let keyed = middleware::from_fn(idempotency::layer);
    let outermost = request_trace::Options::new(limits.time, limits.logged_refusals)
        .recording(api.vitals.commands().clone());
    let guarded = guarded().route_layer(keyed.clone()).route_layer(authenticate);
    let (guarded, _) = guarded.split_for_parts();
    let limit = middleware::from_fn_with_state(Arc::clone(&api.admission), admission::anonymous);
    let (open, _) = open().route_layer(keyed).route_layer(limit.clone()).split_for_parts();
    let pages = console_pages::router().merge(docs::router(&document())).route_layer(limit);
    // Without limits: orchestrators rely on the answer.
    let (health, _) = health::routes().split_for_parts();
    let cors = cors::layer(&api.cors);
    let trusted = Arc::clone(&api.admission.trusted);
    let secured = middleware::from_fn_with_state(trusted, security_headers::layer);
    let router = Router::new()
        .merge(guarded)
        .merge(open)
        .merge(health)
        .merge(pages)
        .with_state(api)
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(middleware::from_fn(entity_tag::layer))
        .layer(CompressionLayer::new())
        .layer(RequestDecompressionLayer::new())
        .layer(middleware::from_fn(content_encoding::layer))
        .layer(middleware::from_fn(nul::refuse))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn_with_state(outermost, request_trace::layer));
    // Outermost, so that a browser may read refusals, too.
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(secured)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod pinned;
#[cfg(test)]
mod tests;
