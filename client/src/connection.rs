//! [`Client`]: one server, one caller, one pool of connections.

use std::fmt;
use std::time::Duration;

use url::Url;

use super::Error;
use super::tls::{http, plain_http, require_system_certificates};

/// A client of one server, as one caller. Cloning is cheap; clones share their connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    /// Without a trailing slash.
    pub(crate) base: String,
    pub(crate) token: Option<String>,
    pub(crate) retries: u32,
    pub(crate) timeout: Duration,
}

impl Client {
    /// Retries of a request by default.
    pub const RETRIES: u32 = 3;
    /// Time for a request with all its retries by default.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// Returns a client of the server at `url`, such as `https://tributary.example.org`, whose certificate
    /// is verified by those of the system. Opens no connection yet.
    ///
    /// Fails if `url` is not an absolute `http` or `https` URL, and with [`Error::Certificates`] if the system has
    /// no certificates for `https`.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::trusting(url, None)
    }

    /// Returns a client of the server at `url` that verifies its certificate by those of `ca`, in PEM, and not by
    /// those of the system. Without `ca`, it is [`Client::new`].
    ///
    /// Fails as that does, and with [`Error::Certificates`] if `ca` holds no certificate or an invalid one.
    pub fn trusting(url: &str, ca: Option<&[u8]>) -> Result<Self, Error> {
        let parsed = Url::parse(url).map_err(|error| Error::InvalidUrl(Some(error)))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(Error::InvalidUrl(None));
        }
        let http = match (parsed.scheme(), ca) {
            ("http", None) => plain_http()?,
            (_, None) => {
                require_system_certificates()?;
                http(None)?
            }
            (_, ca) => http(ca)?,
        };
        let http = http.build().map_err(Error::InvalidRequest)?;
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { http, base, token: None, retries: Self::RETRIES, timeout: Self::TIMEOUT })
    }

    /// Sends `token` as `Authorization: Bearer` with every request.
    #[must_use]
    pub fn with_token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// Retries a request at most `retries` times; 0 sends each request once.
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Ends a request, with all its retries, after `timeout`.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The server as it may be shown: without a user and password in its URL.
    pub(crate) fn server(&self) -> String {
        let Ok(mut url) = Url::parse(&self.base) else { return String::new() };
        if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
            return String::new();
        }
        url.as_str().trim_end_matches('/').to_owned()
    }
}

/// Shows neither the token nor a password in the URL.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.server()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_are_servers() {
        for url in ["http://localhost:8080", "https://example.org/tributary/"] {
            assert!(Client::new(url).is_ok(), "{url}");
        }
        for url in ["", "localhost:8080", "/api", "ftp://example.org", "data:x"] {
            assert!(matches!(Client::new(url), Err(Error::InvalidUrl(_))), "{url}");
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let client = Client::new("http://ada:hunter2@localhost:8080/").unwrap();
        let shown = format!("{:?}", client.with_token("hunter2"));
        assert!(!shown.contains("hunter2") && shown.contains("localhost:8080"), "{shown}");
    }
}
