//! A client of Tributary's HTTP API.
//!
//! The crate depends on no other crate of the workspace. It knows how the API works (tokens,
//! idempotency, pages, positions, problem details), not what its endpoints are: paths and JSON are
//! those of `/openapi.json`, and any type that serde can read may stand for a response.
//!
//! ```no_run
//! use client::{Client, Error};
//! use serde_json::{Value, json};
//!
//! # async fn example() -> Result<(), Error> {
//! // Sign in as a user; a program that has a token calls `with_token` directly.
//! let client = Client::new("http://localhost:8080")?;
//! let tokens = client.sign_in("ada@example.org", "correct horse battery").await?;
//! let client = client.with_token(tokens.access_token);
//!
//! // A command. It carries an idempotency key and is retried if its outcome is unknown.
//! let created = client.post("/api/v1/projects").json(&json!({"name": "Attic"})).send().await?;
//! let project: Value = created.body;
//!
//! // A query that includes the effect of that command.
//! let path = format!("/api/v1/projects/{}", project["id"].as_str().unwrap_or_default());
//! let shown = client.get(&path).min_position(created.position).send::<Value>().await?;
//! assert_eq!(shown.body["name"], "Attic");
//!
//! // Every item of a list, page by page.
//! let tasks: Vec<Value> = client.get("/api/v1/tasks").query(&[("limit", 500)]).all().await?;
//!
//! // Errors are typed: react to `code`, show the rest to people.
//! match client.get("/api/v1/projects/unknown").send::<Value>().await {
//!     Err(Error::Problem(problem)) if problem.code == "not_found" => {}
//!     other => drop(other?),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Retries
//!
//! A request is retried when the server cannot be reached, when the connection ends before the
//! response does, and after 429, 502, 503 and 504. The wait before a retry is the response's
//! `Retry-After`, else 100 ms, doubled for each further retry. By default there are at most
//! [`Client::RETRIES`] retries, all within [`Client::TIMEOUT`] of the first attempt.
//!
//! Every request but `GET` carries an `Idempotency-Key`, drawn at random for each [`Request`] and
//! sent with all of its attempts, so a command whose response was lost is executed once and answered
//! as it was the first time. The few endpoints that take no key are called with [`Request::once`].
//!
//! # Positions
//!
//! A command is acknowledged when its events are committed; read models follow within milliseconds.
//! [`Response::position`] of a command is the position of its last event. A query with
//! [`Request::min_position`] waits until its read model includes that position, or fails with 503.
//! A command with [`Request::wait`] is answered once its own effect is visible.

mod connection;
mod error;
mod event_stream;
mod request;
mod response;
mod session;
mod tls;

pub use connection::Client;
pub use error::{Error, Fault, Problem};
pub use event_stream::EventStream;
pub use request::Request;
pub use response::Response;
pub use session::Tokens;
pub use tls::{http, plain_http, tls};

/// Encodes one segment of a path: everything but letters and digits. Ids that people chose, such as
/// device names, may hold any character.
pub fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
