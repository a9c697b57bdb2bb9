//! Compressed request bodies: `gzip`, `br` and `zstd`. tower-http decodes them before any route reads
//! them, so the limit on bodies holds for the decoded size, and a small body that decodes to a large
//! one is refused as soon as the limit is reached.

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

/// Writes `Content-Encoding` as tower-http compares it: names are case-insensitive, and `x-gzip` is
/// `gzip` (RFC 9110, 8.4.1).
pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    if let Some(value) = request.headers_mut().get_mut(header::CONTENT_ENCODING)
        && let Ok(text) = value.to_str()
    {
        let name = match text.trim().to_ascii_lowercase() {
            name if name == "x-gzip" => "gzip".to_owned(),
            name => name,
        };
        if let Ok(name) = HeaderValue::try_from(name) {
            *value = name;
        }
    }
    next.run(request).await
}
