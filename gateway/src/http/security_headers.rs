//! Headers by which a browser limits what a response may do. On every response of the server, refusals
//! among them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::client_address;
use crate::config::Network;

/// What a response of the API may load if a browser shows it as a page: nothing. Pages have policies of
/// their own.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// For how long a browser uses TLS only: a year. Other hosts of the domain are not concerned.
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Whether the client sent the request over TLS; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OverTls(pub(super) bool);

/// The layer of the API. `trusted` are the proxies that know whether the client uses TLS.
pub(super) async fn layer(
    State(trusted): State<Arc<[Network]>>,
    mut request: Request,
    next: Next,
) -> Response {
    let over_tls = client_address::over_tls(&request, &trusted);
    request.extensions_mut().insert(OverTls(over_tls));
    let mut response = next.run(request).await;
    add(response.headers_mut());
    if over_tls {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
    response
}

/// Adds the headers that do not depend on the request.
pub(super) fn add(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
}
