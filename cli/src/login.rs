//! `tributary login` and `tributary logout`: begin and end a session of an account, stored as a
//! context that every other command uses.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;

use anyhow::Context as _;
use client::Client;
use serde_json::Value;

use super::ca_file::{CaFile, read_ca};
use super::context_store::{ConfigHome, Context};
use super::outcome::Failure;
use super::server::{self, DEFAULT_URL};
use super::{output, password};
use gateway::config::ServerUrl;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// E-mail address of the account; without it, a terminal asks
    #[arg(long, env = "TRIBUTARY_EMAIL", value_name = "ADDRESS")]
    email: Option<String>,
    /// File whose first line is the password; without it, a terminal asks, or it is the first line of
    /// stdin
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// URL of the HTTP API; without it, that of the context, or <http://localhost:8080>
    #[arg(long, env = "TRIBUTARY_URL", value_name = "URL", hide_env_values = true)]
    url: Option<ServerUrl>,
    /// File with the certificates (PEM) to trust instead of the system's; the context keeps its path.
    /// Without it, that of the context, if it is of the same server
    #[arg(long, env = "TRIBUTARY_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Name of the context; without it, host and port of the server
    #[arg(long, env = "TRIBUTARY_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    #[command(flatten)]
    home: ConfigHome,
}

#[derive(Debug, clap::Args)]
pub(super) struct Logout {
    /// Name of the context; without it, the current one
    #[arg(long, env = "TRIBUTARY_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    #[command(flatten)]
    home: ConfigHome,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let Args { email, password_file, url, ca_file, context: name, home } = args;
    let store = home.store()?;
    let contexts = store.read()?.contexts;
    let known = name.as_ref().and_then(|name| contexts.get(name));
    let url = match (url, known) {
        (Some(url), _) => url,
        (None, Some(known)) => known.url.parse().map_err(anyhow::Error::from)?,
        (None, None) => DEFAULT_URL.parse().map_err(anyhow::Error::from)?,
    };
    let email = match email.or_else(|| known.map(|known| known.email.clone())) {
        Some(email) => email,
        None => ask_for_email()?,
    };
    // The context is used from other directories, too.
    let given = ca_file.map(std::path::absolute).transpose().context("--ca-file")?;
    let name = name.unwrap_or_else(|| url.authority());
    let known = contexts.get(&name).filter(|known| known.is_at(url.expose()));
    let ca = match &given {
        Some(file) => Some(CaFile::Option(file)),
        None => known.and_then(|known| known.ca_file(&name)),
    };
    let client = Client::trusting(url.expose(), read_ca(ca)?.as_deref())?;
    let ca_file = given.or_else(|| known.and_then(|known| known.ca_file.clone()));
    let password = password::read(password_file.as_deref())?;
    let session = client.sign_in(&email, &password).await?.into();
    let mut locked = store.lock()?;
    let context = Context {
        url: url.expose().to_owned(),
        ca_file,
        email: email.clone(),
        session: Some(session),
    };
    locked.contexts.contexts.insert(name.clone(), context);
    locked.contexts.current = Some(name.clone());
    locked.write()?;
    output::note(&format!("signed in to {url} as {email}; the current context is `{name}`"));
    Ok(())
}

fn ask_for_email() -> Result<String, Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::usage(vec!["--email (TRIBUTARY_EMAIL) is required".into()]));
    }
    output::note("E-mail address:");
    let mut line = String::new();
    stdin().read_line(&mut line).context("cannot read the e-mail address from the terminal")?;
    Ok(line.trim().to_owned())
}

/// Ends the session at the server, and forgets its tokens.
pub(super) async fn logout(Logout { context, home }: Logout) -> Result<(), Failure> {
    let store = home.store()?;
    let name = store.read()?.select(context.as_deref())?.0.to_owned();
    let ended = async {
        let client = server::of_context(&store, &name, None).await?.client()?;
        client.post("/api/v1/auth/logout").once().send::<Value>().await?;
        Ok::<_, Failure>(())
    };
    let ended = ended.await;
    let mut locked = store.lock()?;
    if let Some(context) = locked.contexts.contexts.get_mut(&name) {
        context.session = None;
    }
    locked.write()?;
    ended?;
    output::note(&format!("signed out of the context `{name}`"));
    Ok(())
}
