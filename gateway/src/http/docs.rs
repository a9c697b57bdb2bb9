//! The documentation of the API: Swagger UI at `/docs/`, and the OpenAPI document that it shows.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::OpenApi;

use super::api::Api;
use super::assets::{Asset, SWAGGER, find};

/// Path of Swagger UI.
pub(super) const PATH: &str = "/docs/";
/// Path of the OpenAPI document.
pub(super) const OPENAPI: &str = "/openapi.json";
/// Swagger UI sets inline styles; its scripts are files.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
    object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The routes; `document` is written once.
pub(super) fn router(document: &OpenApi) -> Router<Arc<Api>> {
    let document = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    let json = [(header::CONTENT_TYPE, "application/json")];
    Router::new()
        .route(OPENAPI, get(async move || (json, document.clone())))
        .route("/docs", get(async || Redirect::permanent(PATH)))
        .route("/docs/", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route(
            "/docs/{*rest}",
            get(async |Path(path): Path<String>, headers: HeaderMap| file(&path, &headers)),
        )
}

fn file(path: &str, headers: &HeaderMap) -> Response {
    let respond = |asset: &Asset| asset.response(headers, "no-cache", POLICY);
    find(SWAGGER, path).map_or_else(|| StatusCode::NOT_FOUND.into_response(), respond)
}
