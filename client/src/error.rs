//! [`Error`]: why a request has no successful response.

use std::fmt;

use serde::Deserialize;

/// Why a request has no successful response. The causes are in the source chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server did not accept a connection, or did not respond in time.
    #[error("cannot reach the server at {server}")]
    NotReachable {
        /// The server's URL without credentials.
        server: String,
        /// The connection's error.
        source: reqwest::Error,
    },
    /// The connection ended before the response did. Whether a command was executed is unknown.
    #[error("the connection to {server} ended before the response was complete")]
    Interrupted {
        /// The server's URL without credentials.
        server: String,
        /// The connection's error.
        source: Option<reqwest::Error>,
    },
    /// The server refused the request and says why.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// The response is neither what the caller expects nor problem details; perhaps another server
    /// runs at this address.
    #[error("the response (status {status}) has an unexpected body")]
    InvalidResponse {
        /// HTTP status.
        status: u16,
        /// Where the body differs.
        source: serde_json::Error,
    },
    /// The request cannot be encoded: parameters that are no pairs, a header with a line break.
    #[error("the request cannot be encoded")]
    InvalidRequest(#[source] reqwest::Error),
    /// There is no certificate by which the server could be verified: that of a CA is invalid or not in PEM,
    /// or the system has none.
    #[error("there is no usable certificate of a CA in PEM")]
    Certificates(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The server redirects. Nothing is sent to another address, as a request may hold a secret.
    #[error("the server redirects to {location}, and redirects are not followed")]
    Redirected {
        /// The address in the response.
        location: String,
    },
    /// The server's address is not an absolute `http` or `https` URL.
    #[error("the server's address is not an http or https URL")]
    InvalidUrl(#[source] Option<url::ParseError>),
}

impl Error {
    pub(crate) fn certificates(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Certificates(Some(Box::new(error)))
    }

    pub(crate) fn sending(server: String, error: reqwest::Error) -> Self {
        let source = error.without_url();
        if source.is_connect() || source.is_timeout() {
            Self::NotReachable { server, source }
        } else {
            Self::Interrupted { server, source: Some(source) }
        }
    }
}

/// Problem details of a refused request (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// `urn:tributary:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, for people.
    pub detail: String,
    /// Stable name of the problem, for programs.
    pub code: String,
    /// What is wrong, part by part; empty if the request is wrong as a whole.
    #[serde(default)]
    pub errors: Vec<Fault>,
    /// Identifies the request in the server's log and traces.
    #[serde(default)]
    pub trace_id: String,
}

/// One part of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Fault {
    /// JSON pointer to the member of the body.
    pub pointer: Option<String>,
    /// Name of the query parameter or header.
    pub parameter: Option<String>,
    /// What is wrong with it, for people.
    pub detail: String,
}

impl std::error::Error for Problem {}

/// One line, and one more for each fault.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, title, detail, code, trace_id, .. } = self;
        write!(f, "{status} {title}: {detail} (code {code}, trace id {trace_id})")?;
        for Fault { pointer, parameter, detail } in &self.errors {
            let place = pointer.as_deref().or(parameter.as_deref()).unwrap_or("request");
            write!(f, "\n  {place}: {detail}")?;
        }
        Ok(())
    }
}
