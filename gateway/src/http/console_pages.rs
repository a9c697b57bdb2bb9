//! The web console at `/console/`: the files in `console/dist`, which the executable holds. Its pages call
//! the API as every other client does.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::api::Api;
use super::assets::{Asset, CONSOLE, find};

/// Path of the console.
pub(super) const PATH: &str = "/console/";
/// Folder of the files whose names contain a digest of their content.
const HASHED: &str = "assets/";
/// `Cache-Control` of those, which never change.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// `Cache-Control` of all others: ask each time whether they have changed.
const REVALIDATED: &str = "no-cache";
/// What the pages may load and call: only this server. No script or style is inline.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; \
    connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/console", get(async || Redirect::permanent(PATH)))
        .route("/console/", get(async |headers: HeaderMap| page("", &headers)))
        .route(
            "/console/{*path}",
            get(async |Path(path): Path<String>, headers: HeaderMap| page(&path, &headers)),
        )
}

/// The file at `path`; for any other path the page itself, whose script shows what the path names.
fn page(path: &str, headers: &HeaderMap) -> Response {
    let hashed = path.starts_with(HASHED);
    let missing = || (!hashed).then(|| find(CONSOLE, "index.html")).flatten();
    let cache = if hashed { FOR_EVER } else { REVALIDATED };
    let respond = |asset: &Asset| asset.response(headers, cache, POLICY);
    let not_found = || StatusCode::NOT_FOUND.into_response();
    find(CONSOLE, path).or_else(missing).map_or_else(not_found, respond)
}
