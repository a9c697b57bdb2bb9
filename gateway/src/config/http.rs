//! Options of the HTTP server, of bearer tokens, and of the API's clients.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::Span;

/// The HTTP server.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "HTTP")]
pub struct Http {
    /// IP address to listen on
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Port to listen on; 0 selects a free port
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Largest request body, in bytes; 1 KiB to 8 MiB
    #[arg(long, env = "HTTP_BODY_LIMIT", value_name = "BYTES", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1024..=8 * 1024 * 1024))]
    pub http_body_limit: u32,
    /// Time after which a request is answered with 503, with a unit; event streams have no limit
    #[arg(long, env = "HTTP_TIMEOUT", value_name = "TIME", default_value = "30s")]
    pub http_timeout: Span,
    /// Time that a client may take to send the header of its next request, with a unit; then its
    /// connection is closed, also an idle one
    #[arg(long, env = "HTTP_HEADER_TIMEOUT", value_name = "TIME", default_value = "30s")]
    pub http_header_timeout: Span,
    /// Time between SIGTERM and the shutdown of a process with the role `http`, with a unit:
    /// `/readyz` answers 503 meanwhile, so that load balancers choose other processes, and all else
    /// is served; 0s is none. The shutdown takes up to 10s more
    #[arg(long, env = "HTTP_DRAIN", value_name = "TIME", default_value = "0s")]
    pub drain: Span,
    /// Connections at a time; a further one is answered with 503 and closed; 1 to 1,000,000
    #[arg(long, env = "HTTP_CONNECTIONS", value_name = "COUNT", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub http_connections: u32,
    /// Requests in progress at a time, half of them at most of one client; a further one is answered
    /// with 503, or 429 to that client; 2 to 100,000
    #[arg(long, env = "HTTP_REQUESTS", value_name = "COUNT", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub http_requests: u32,
    /// Event streams of one principal at a time; a further one is answered with 429; 1 to 10,000
    #[arg(long, env = "HTTP_STREAMS", value_name = "COUNT", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub http_streams: u32,
    /// Refused requests logged per minute, each with its `X-Request-Id` and trace id; of the others,
    /// only the number is logged; 1 to 1,000,000
    #[arg(long, env = "HTTP_LOG_REFUSALS", value_name = "COUNT", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub http_log_refusals: u32,
    /// IP address and port where every role serves `/livez`, `/readyz`, `/startupz` and `/metrics`
    /// without a token, such as 127.0.0.1:9464; without it, only the role `http` serves them
    #[arg(long, env = "METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<SocketAddr>,
}

impl Http {
    /// Returns the address to listen on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }
}

/// Bearer tokens.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Tokens")]
pub struct Tokens {
    /// File with the private key that signs tokens: Ed25519, PKCS#8, PEM; create one with
    /// `openssl genpkey -algorithm ed25519`. Of the roles, only `http` needs it
    #[arg(long, env = "TRIBUTARY_SIGNING_KEY_FILE", value_name = "FILE")]
    pub signing_key_file: Option<PathBuf>,
    /// File with a second private key, whose tokens are accepted, too: during a rotation, the key that
    /// signed before or will sign next
    #[arg(long, env = "TRIBUTARY_ACCEPTED_KEY_FILE", value_name = "FILE")]
    pub accepted_key_file: Option<PathBuf>,
    /// Lifetime of an access token, with a unit; a changed role takes effect with the next token
    #[arg(long, env = "ACCESS_TOKEN_TTL", value_name = "TIME", default_value = "15m")]
    pub access_token_ttl: Span,
    /// Time for which a refresh token that was replaced gets the current one again, with a unit: two
    /// tabs may refresh at once, and a lost answer may be repeated; later, or with an older token, its
    /// use ends the session; at most 5m, 0s for never
    #[arg(long, env = "REFRESH_GRACE", value_name = "TIME", default_value = "10s")]
    pub refresh_grace: Span,
}

impl Tokens {
    /// Longest `--refresh-grace`: for that time, a stolen token is not noticed.
    const MAX_REFRESH_GRACE: Duration = Duration::from_mins(5);

    /// Returns the file with the key that signs.
    pub fn signing_key(&self) -> anyhow::Result<&Path> {
        let key = self.signing_key_file.as_deref();
        key.context("no signing key: set --signing-key-file (TRIBUTARY_SIGNING_KEY_FILE)")
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
        let mistake = self.refresh_grace.0 > Self::MAX_REFRESH_GRACE;
        mistake.then(|| "--refresh-grace must be at most 5m".to_owned()).into_iter().collect()
    }
}
