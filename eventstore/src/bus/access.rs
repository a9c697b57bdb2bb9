//! How to reach NATS: servers, account and TLS.

use std::fmt;
use std::path::PathBuf;

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

use crate::bus::error::BusError;

/// How to reach NATS. `Debug` shows neither the account nor the URL.
#[derive(Clone, Default)]
pub struct BusAccess {
    /// URL of the server, or URLs of the servers of one cluster, separated by commas; `tls://` refuses
    /// a server without TLS. May name an account, `user:password@` or `token@`; the first server that
    /// names one counts for all.
    pub url: String,
    /// The account; takes precedence over that in the URL.
    pub account: Option<BusAccount>,
    /// Prefix of the client's inboxes. `None`: `_INBOX.{user}` for a user with a password, so that the
    /// server can permit each account its own inboxes only, else `_INBOX`.
    pub inbox_prefix: Option<String>,
    /// File with the certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Files with the certificate and the private key (PEM) of the client.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether to refuse a server without TLS.
    pub require_tls: bool,
}

/// An account on NATS.
#[derive(Clone)]
pub enum BusAccount {
    /// A user name and password.
    Password {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
    /// A token.
    Token(String),
    /// The content of a credentials file: a user JWT with its `NKey` seed, or a seed alone.
    Credentials(String),
}

impl From<&str> for BusAccess {
    fn from(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }
}

impl fmt::Debug for BusAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusAccess").finish_non_exhaustive()
    }
}

/// Returns the servers without their user and password, and the options to connect to them.
pub fn connect_options(access: &BusAccess) -> Result<(Vec<ServerAddr>, ConnectOptions), BusError> {
    let parsed = access.url.split(',').map(|server| server.trim().parse());
    let servers: Vec<ServerAddr> = parsed.collect::<Result<_, _>>().map_err(BusError::Url)?;
    let account = match &access.account {
        Some(account) => Some(account.clone()),
        None => account_of(&servers)?,
    };
    let mut options = ConnectOptions::new().require_tls(access.require_tls);
    let mut inbox_prefix = access.inbox_prefix.clone();
    match account {
        None => {}
        Some(BusAccount::Token(token)) => options = options.token(token),
        Some(BusAccount::Credentials(text)) => options = with_credentials(options, &text)?,
        Some(BusAccount::Password { user, password }) => {
            let own = format!("_INBOX.{user}");
            inbox_prefix = inbox_prefix.or_else(|| is_subject(&own).then_some(own));
            options = options.user_and_password(user, password);
        }
    }
    if let Some(prefix) = inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    if let Some(file) = &access.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &access.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let servers = servers.into_iter().map(without_account).collect::<Result<_, _>>();
    Ok((servers.map_err(BusError::Url)?, options))
}

/// Returns the account in the URL. A user without a password is a token.
fn account_of(servers: &[ServerAddr]) -> Result<Option<BusAccount>, BusError> {
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|error| BusError::Url(std::io::Error::other(error)))
    };
    let Some(server) = servers.iter().find(|server| server.has_user_pass()) else {
        return Ok(None);
    };
    let user = decoded(server.username().unwrap_or_default())?;
    Ok(Some(match server.password() {
        None => BusAccount::Token(user),
        Some(password) => BusAccount::Password { user, password: decoded(password)? },
    }))
}

/// Authenticates with a user JWT and its seed, or with a seed alone.
fn with_credentials(options: ConnectOptions, text: &str) -> Result<ConnectOptions, BusError> {
    if text.contains("-----BEGIN") {
        return options.credentials(text).map_err(BusError::Credentials);
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next()) {
        // Of a user: its public key begins with `U`, its seed with `SU`.
        (Some(seed), None) if seed.starts_with("SU") => Ok(options.nkey(seed.to_owned())),
        _ => Err(BusError::Credentials(std::io::ErrorKind::InvalidData.into())),
    }
}

fn is_subject(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"*>".contains(&byte);
    text.split('.').all(|token| !token.is_empty() && token.bytes().all(plain))
}

/// Removes user and password, which the client would log with the address.
fn without_account(server: ServerAddr) -> Result<ServerAddr, std::io::Error> {
    let mut url = server.into_inner();
    // Fails only for addresses without a host, which have no user either.
    url.set_username("").and_then(|()| url.set_password(None)).ok();
    ServerAddr::from_url(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_of_a_url_is_used_and_not_shown() {
        let url = "nats://ada:p%40ss%2F%23@one:4222, nats://two";
        let (servers, options) = connect_options(&url.into()).unwrap();
        let servers: Vec<_> = servers.iter().map(ServerAddr::as_url_str).collect();
        assert_eq!(servers, ["nats://one:4222", "nats://two"]);
        let shown = format!("{options:?}");
        assert!(shown.contains("_INBOX.ada") && !shown.contains("p@ss/#"), "{shown}");
        for plain in ["nats://one", "nats://token@one", "nats://a*b:p@one", "nats://a%20b:p@one"] {
            let shown = format!("{:?}", connect_options(&plain.into()).unwrap().1);
            assert!(!shown.contains("_INBOX."), "{shown}");
        }
        assert!(connect_options(&"nats://ada:p@one,http://two".into()).is_err());
    }

    #[test]
    fn credentials_that_are_no_credentials_are_refused() {
        for text in ["", "hunter2", "UABC", "SUABC\nSUABC", "-----BEGIN NATS USER JWT-----\nx"] {
            let account = Some(BusAccount::Credentials(text.to_owned()));
            let access = BusAccess { account, ..BusAccess::from("nats://one") };
            let error = connect_options(&access).unwrap_err().to_string();
            assert!(error.contains("--nats-creds-file") && !error.contains("hunter2"), "{error}");
        }
    }
}
