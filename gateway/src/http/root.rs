//! The root of the server: leads a browser to the console, and other clients to the documents.

use axum::Json as Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect};

use super::negotiation::{self, prefers_html};
use super::prelude::*;
use super::{console_pages, docs};

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(show))
}

/// What this server is, and where to go on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Root)]
struct Root {
    /// Always `Tributary`.
    name: &'static str,
    /// Version of the server.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Paths of this server.
    links: Links,
}

/// Paths to go on from the root.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RootLinks)]
struct Links {
    /// The web console.
    #[schema(example = "/console/")]
    console: &'static str,
    /// The documentation of this API, for people.
    #[schema(example = "/docs/")]
    documentation: &'static str,
    /// The OpenAPI document.
    #[schema(example = "/openapi.json")]
    openapi: &'static str,
    /// The AsyncAPI document of the bus.
    #[schema(example = "/asyncapi.json")]
    asyncapi: &'static str,
    /// Readiness of the process.
    #[schema(example = "/readyz")]
    health: &'static str,
}

/// Show where to go on
///
/// A client that prefers `text/html`, as browsers do, is redirected to the console.
#[utoipa::path(
    get, path = "/", tag = tags::OPERATIONS, security(()),
    responses((status = 200, description = "The paths", body = Root),
        (status = 303, description = "To the console",
            headers(("Location" = String, description = "`/console/`")))),
)]
async fn show(headers: HeaderMap) -> Response {
    let vary = [negotiation::VARY];
    if prefers_html(&headers) {
        return (vary, Redirect::to(console_pages::PATH)).into_response();
    }
    let links = Links {
        console: console_pages::PATH,
        documentation: docs::PATH,
        openapi: docs::OPENAPI,
        asyncapi: "/asyncapi.json",
        health: "/readyz",
    };
    let version = env!("CARGO_PKG_VERSION");
    (vary, [(header::CACHE_CONTROL, "no-cache")], Body(Root { name: "Tributary", version, links }))
        .into_response()
}
