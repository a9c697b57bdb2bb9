//! The accept loop: bounds the connections, and the time that a client takes for a header or to
//! read its response.

use std::convert::Infallible;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use eventstore::{Tasks, caught};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, EXPECT, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::client_address::Peer;
use super::rate_limiter::count_refusal;
use super::rest_of_body::SharedBody;

/// Time after which a connection is closed whose client takes none of the data sent to it.
#[cfg(target_os = "linux")]
const UNREAD: Duration = Duration::from_secs(30);
/// Open files that a process needs besides its HTTP connections.
const OTHER_FILES: u64 = 256;

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at a time.
    pub connections: u32,
    /// Longest time until the header of the next request is complete.
    pub header: Duration,
}

/// How a server is stopped.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Cancelled first: from then on a response closes its connection, so that clients that keep
    /// connections open come to another process.
    pub draining: CancellationToken,
    /// Cancelled last: no connection is accepted any more, and idle ones are closed.
    pub shutdown: CancellationToken,
}

/// Serves `router` until it is stopped. Each connection is a task of `tasks`, and answers its request in
/// progress after the shutdown.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    tasks: &Tasks,
    Stop { draining, shutdown }: Stop,
) {
    allow_open_files(limits.connections);
    let refusal = refusal(limits.connections);
    let connections = Arc::new(Semaphore::new(limits.connections as usize));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header);
    let service = TowerToHyperService::new(router);
    // axum's `accept`, unlike that of tokio, waits while the process has no file left for a connection.
    while let Some((stream, peer)) =
        shutdown.run_until_cancelled(Listener::accept(&mut listener)).await
    {
        let Ok(connection) = Arc::clone(&connections).try_acquire_owned() else {
            count_refusal("connections");
            refuse(stream, &refusal);
            continue;
        };
        close_if_unread(&stream);
        let (service, draining) = (service.clone(), draining.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let expects_continue = request.headers().contains_key(EXPECT);
            let request = request.map(SharedBody::new);
            let body = request.body().clone();
            let (response, draining) = (service.call(request), draining.clone());
            async move {
                let mut response = response.await?;
                let was_read = body.read_rest(expects_continue).await;
                if !was_read || draining.is_cancelled() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let served = http.serve_connection(TokioIo::new(stream), service);
        let shutdown = shutdown.clone();
        let connected = async move {
            let mut served = pin!(served);
            let outcome = tokio::select! {
                outcome = served.as_mut() => outcome,
                () = shutdown.cancelled() => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            };
            if let Err(error) = outcome {
                tracing::trace!(%error, %peer, "HTTP connection failed");
            }
            drop(connection);
        };
        tasks.spawn("HTTP connection", async move {
            // A panic ends the connection, not the process.
            if let Err(panic) = caught(connected).await {
                tracing::error!(panic, %peer, "HTTP connection panicked");
            }
        });
    }
}

/// The response on a connection that is one too many.
fn refusal(connections: u32) -> Vec<u8> {
    let body = format!(
        r#"{{"type":"urn:tributary:problem:too_many_connections","title":"Service Unavailable","status":503,"detail":"this process has {connections} connections; retry later","code":"too_many_connections","errors":[]}}"#
    );
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         content-length: {length}\r\nretry-after: 1\r\nx-content-type-options: nosniff\r\n\
         connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Answers without reading, and closes the connection. The socket's buffer takes the response, so
/// this does not block.
fn refuse(stream: TcpStream, refusal: &[u8]) {
    let answered = stream.into_std().and_then(|mut stream| stream.write_all(refusal));
    if let Err(error) = answered {
        tracing::debug!(%error, "refused HTTP connection was not answered");
    }
}

#[cfg(target_os = "linux")]
fn close_if_unread(stream: &TcpStream) {
    use rustix::net::sockopt;
    let milliseconds = u32::try_from(UNREAD.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = sockopt::set_tcp_user_timeout(stream, milliseconds) {
        tracing::debug!(%error, "time limit of a connection was not set");
    }
}

#[cfg(not(target_os = "linux"))]
fn close_if_unread(_: &TcpStream) {}

/// Raises the process's limit of open files as far as the connections need and the system allows.
fn allow_open_files(connections: u32) {
    let needed = u64::from(connections) + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let allowed = maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
    if raised.is_err() || allowed < needed {
        tracing::warn!(
            needed,
            allowed,
            "open files are limited to fewer than --http-connections need; raise the limit (ulimit -n)"
        );
    }
}
