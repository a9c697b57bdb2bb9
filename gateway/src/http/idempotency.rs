//! Requests with an idempotency key: which of them count as repetitions of each other. Decided here
//! for all commands, so that no handler can leave out a part of its request.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::extract;
use super::headers::IDEMPOTENCY_KEY;
use super::problem::Problem;

/// What a repetition of a request must be equal in: its method, path, query and body.
#[derive(Debug, Clone)]
pub(super) struct KeyedRequest {
    /// `METHOD PATH?QUERY` and a line feed, which none of them contains.
    target: String,
    body: Bytes,
}

impl KeyedRequest {
    /// SHA-256 of the whole request.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint_of(&self.body)
    }

    /// SHA-256 of method, path, query and `content`. For a body that holds a secret: the fingerprint
    /// is stored and a fast hash, by which the secret could be guessed.
    pub(super) fn fingerprint_of(&self, content: &[u8]) -> [u8; 32] {
        Sha256::new_with_prefix(&self.target).chain_update(content).finalize().into()
    }
}

/// Reads the body of a request with an idempotency key, and adds a [`KeyedRequest`] to its
/// extensions. The layer of all routes, behind authentication.
pub(super) async fn layer(request: Request, next: Next) -> Response {
    if !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    match keyed(request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn keyed(request: Request) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    // The limit of the body is one of the extensions.
    let mut whole = Request::new(body);
    *whole.extensions_mut() = parts.extensions.clone();
    let body = extract::body(whole, &()).await?;
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{} {}{query}\n", parts.method, parts.uri.path());
    parts.extensions.insert(KeyedRequest { target, body: body.clone() });
    Ok(Request::from_parts(parts, Body::from(body)))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::{DefaultBodyLimit, Extension};
    use axum::middleware::from_fn;
    use axum::routing::any;
    use eventstore::Tasks;
    use tokio::net::TcpListener;

    use super::*;

    /// A server whose responses are the fingerprints of its requests. Bodies have 8 bytes at most.
    async fn server(tasks: &Tasks) -> String {
        async fn respond(Extension(keyed): Extension<KeyedRequest>, body: Bytes) -> Vec<u8> {
            assert_eq!(keyed.body, body, "the handler reads the same body");
            keyed.fingerprint().to_vec()
        }
        let app = Router::new()
            .route("/{*path}", any(respond))
            .route_layer(from_fn(layer))
            .layer(DefaultBodyLimit::max(8));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tasks.spawn("server", async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    async fn send(url: &str, method: &str, target: &str, body: &str) -> (u16, Bytes) {
        let request = client::http(None)
            .unwrap()
            .build()
            .unwrap()
            .request(method.parse().unwrap(), format!("{url}{target}"))
            .header(IDEMPOTENCY_KEY, "k")
            .body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap())
    }

    #[tokio::test]
    async fn every_part_of_a_request_changes_its_fingerprint() {
        let url = server(&Tasks::new()).await;
        let first = send(&url, "PUT", "/a/b?c=d", "body").await;
        assert_eq!(first.0, 200);
        assert_eq!(send(&url, "PUT", "/a/b?c=d", "body").await, first);
        for (method, target, body) in [
            ("POST", "/a/b?c=d", "body"),
            ("PUT", "/a/c?c=d", "body"),
            ("PUT", "/a/b?c=e", "body"),
            ("PUT", "/a/b", "body"),
            ("PUT", "/a/b?c=d", "bod"),
            ("PUT", "/a/b?c=d", ""),
        ] {
            let other = send(&url, method, target, body).await;
            assert_eq!(other.0, 200);
            assert_ne!(other, first, "{method} {target} {body}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused() {
        assert_eq!(send(&server(&Tasks::new()).await, "PUT", "/a", "123456789").await.0, 413);
    }
}
