//! Cross-origin resource sharing: which web sites may read the API's responses in a browser. Page views
//! have a list of origins of their own, because they need no token.

use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowCredentials, AllowHeaders, AllowOrigin, CorsLayer};

use super::{console_request, page_views};
use crate::config::{Cors, Origin};

/// How long a browser may reuse the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_mins(10);

/// Response headers that scripts may read, besides those that every script may.
const EXPOSED: [HeaderName; 13] = [
    header::ETAG,
    header::LOCATION,
    header::LINK,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("idempotency-replayed"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("tributary-epoch"),
    HeaderName::from_static("tributary-position"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    header::CONTENT_DISPOSITION,
];

/// The layer, which answers preflight requests and adds the headers; `None` if no origin is allowed.
///
/// A browser sends a beacon with credentials, so those are allowed for page views of a listed origin. The
/// API reads none: a token is in `Authorization`, which a script adds by itself. The routes of sessions with
/// a cookie are for pages of this server, so that no other origin may call them.
pub(super) fn layer(options: &Cors) -> Option<CorsLayer> {
    let Cors { cors_origins: api, page_views_cors_origins: views } = options.clone();
    if api.is_empty() && views.is_empty() {
        return None;
    }
    let any_view = views.contains(&Origin::Any);
    let of_views = |parts: &Parts| parts.uri.path() == page_views::RECORD;
    let origins = AllowOrigin::predicate(move |origin: &HeaderValue, parts: &Parts| {
        let allowed = if of_views(parts) { &views } else { &api };
        let with_cookie = parts.uri.path().starts_with(console_request::SESSION);
        !with_cookie && allowed.iter().any(|allowed| allowed.is(origin.as_bytes()))
    });
    let credentials = AllowCredentials::predicate(move |_: &HeaderValue, parts: &Parts| {
        of_views(parts) && !any_view
    });
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_credentials(credentials)
        .allow_methods(methods)
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE);
    Some(layer)
}
