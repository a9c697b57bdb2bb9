//! Options of NATS: servers, account and TLS.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::Args;
use clap::builder::FalseyValueParser;
use eventstore::{BusAccess, BusAccount};
use serde::Serialize;

use super::tls::TlsFiles;
use super::{Secret, ServerUrl};

/// NATS. Without it, the intake of works and the publication of events wait; all else continues.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "NATS")]
pub struct Bus {
    /// URL of NATS with `JetStream`, `tls://` for TLS, and its account; separate the servers of a
    /// cluster by commas
    #[arg(
        long,
        env = "NATS_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats_url: ServerUrl,
    /// Name of the account on NATS, if the URL does not name it
    #[arg(long, env = "NATS_USERNAME", value_name = "NAME")]
    pub nats_username: Option<String>,
    /// Password of the account
    #[arg(long, env = "NATS_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub nats_password: Option<Secret>,
    /// Token to authenticate with, in place of a user name and password
    #[arg(long, env = "NATS_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub nats_token: Option<Secret>,
    /// File with the credentials of the account, in place of a user name and password: a user JWT and
    /// its `NKey` seed as `nsc` writes them, or an `NKey` seed alone
    #[arg(long, env = "NATS_CREDS_FILE", value_name = "FILE")]
    pub nats_creds_file: Option<PathBuf>,
    /// Prefix of the inboxes that the account may subscribe to; without it, `_INBOX.NAME` for a user
    /// name and password, else `_INBOX`
    #[arg(long, env = "NATS_INBOX_PREFIX", value_name = "SUBJECT")]
    pub nats_inbox_prefix: Option<String>,
    /// File with the certificates (PEM) to trust instead of the system's
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    pub nats_ca_file: Option<PathBuf>,
    /// File with the certificate (PEM) of this client and its chain, for a server that demands one
    #[arg(long, env = "NATS_CERT_FILE", value_name = "FILE")]
    pub nats_cert_file: Option<PathBuf>,
    /// File with the private key (PEM) of --nats-cert-file
    #[arg(long, env = "NATS_KEY_FILE", value_name = "FILE")]
    pub nats_key_file: Option<PathBuf>,
    /// Refuse a server without TLS, as `tls://` in the URL does
    #[arg(long, env = "NATS_REQUIRE_TLS", value_parser = FalseyValueParser::new())]
    pub nats_require_tls: bool,
}

impl Bus {
    /// Returns how to connect. Reads the files.
    pub fn access(&self) -> anyhow::Result<BusAccess> {
        let tls = TlsFiles {
            server: "nats",
            ca: self.nats_ca_file.as_deref(),
            certificate: self.nats_cert_file.as_deref(),
            key: self.nats_key_file.as_deref(),
        };
        // NATS reads the files again at each connection.
        tls.ca()?;
        tls.client()?;
        let account = self.account()?;
        ensure!(
            account.is_none() || !self.nats_url.names_user(),
            "--nats-url and another option both name an account"
        );
        Ok(BusAccess {
            url: self.nats_url.expose().to_owned(),
            account,
            inbox_prefix: self.nats_inbox_prefix.clone(),
            ca_file: self.nats_ca_file.clone(),
            certificate: self.nats_cert_file.clone().zip(self.nats_key_file.clone()),
            require_tls: self.nats_require_tls,
        })
    }

    fn account(&self) -> anyhow::Result<Option<BusAccount>> {
        let password = match (&self.nats_username, &self.nats_password) {
            (None, None) => None,
            (Some(user), Some(password)) => Some(BusAccount::Password {
                user: user.clone(),
                password: password.expose().to_owned(),
            }),
            _ => bail!("--nats-username and --nats-password must be set together"),
        };
        let token = self.nats_token.as_ref();
        let token = token.map(|token| BusAccount::Token(token.expose().to_owned()));
        let credentials = self.nats_creds_file.as_ref().map(|file| {
            let text = std::fs::read_to_string(file);
            let text =
                text.with_context(|| format!("--nats-creds-file: cannot read {}", file.display()));
            text.map(BusAccount::Credentials)
        });
        let mut accounts = [password, token, credentials.transpose()?].into_iter().flatten();
        let account = accounts.next();
        ensure!(
            accounts.next().is_none(),
            "set one of --nats-username with --nats-password, --nats-token and --nats-creds-file"
        );
        Ok(account)
    }

    /// Returns a message if the account is incomplete or named twice, or a file cannot be used.
    pub(super) fn mistakes(&self) -> Option<String> {
        let checked = self.access().and_then(|access| Ok(eventstore::connect_options(&access)?));
        checked.err().map(|error| format!("{error:#}"))
    }
}
