//! The options of commands that are clients of the HTTP API: the server and the account. A token that
//! is given is used; else that of a context, whose session is refreshed when its token expires.

use std::path::PathBuf;

use chrono::{TimeDelta, Utc};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use client::{Client, Error};

use super::ca_file::{CaFile, read_ca};
use super::context_store::{ConfigHome, Contexts, Session, Store};
use super::outcome::Failure;
use gateway::config::{Secret, ServerUrl};

/// Remaining lifetime at which an access token is replaced.
const RENEW: TimeDelta = TimeDelta::seconds(30);
/// Server without options, variables and contexts.
pub(super) const DEFAULT_URL: &str = "http://localhost:8080";
/// Name of `--context` among the arguments; other commands have a `--context` of events.
const CONTEXT: &str = "server_context";

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
struct Options {
    /// URL of the HTTP API
    #[arg(
        long,
        env = "TRIBUTARY_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = DEFAULT_URL
    )]
    url: ServerUrl,
    /// File with the certificates (PEM) to trust instead of the system's; without it, that of the context
    /// whose server is used
    #[arg(long, env = "TRIBUTARY_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Bearer token, as `tributary token` prints it; without it, the context's
    #[arg(long, env = "TRIBUTARY_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// Context: the server and account of a `tributary login`; without it, the current one
    #[arg(long = "context", env = "TRIBUTARY_CONTEXT", value_name = "NAME")]
    server_context: Option<String>,
    #[command(flatten)]
    home: ConfigHome,
}

/// The server that a command is a client of, and the account. What the command line gives takes
/// precedence over the environment, and both over the file of contexts.
#[derive(Debug, Clone)]
pub(super) struct Server {
    options: Options,
    url: Option<ValueSource>,
    ca_file: Option<ValueSource>,
    token: Option<ValueSource>,
    context: Option<ValueSource>,
}

/// The address of a server and a token for it.
pub(super) struct Endpoint {
    pub(super) url: String,
    /// Certificates that sign the server's, in PEM; none: those of the system.
    pub(super) ca: Option<Vec<u8>>,
    pub(super) token: String,
}

impl Endpoint {
    pub(super) fn client(self) -> Result<Client, Failure> {
        Ok(Client::trusting(&self.url, self.ca.as_deref())?.with_token(self.token))
    }
}

impl Server {
    /// Returns whether the command line names a server or an account.
    pub(super) fn is_on_command_line(&self) -> bool {
        [self.url, self.ca_file, self.token, self.context].contains(&Some(ValueSource::CommandLine))
    }

    /// Returns a client of the server.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        self.endpoint().await?.client()
    }

    /// Returns the address and a token that is valid for some time.
    pub(super) async fn endpoint(&self) -> Result<Endpoint, Failure> {
        // A context on the command line takes precedence over a server in the environment.
        let by_context = self.context == Some(ValueSource::CommandLine);
        let is_given = |source| match source {
            Some(ValueSource::CommandLine) => true,
            Some(ValueSource::EnvVariable) => !by_context,
            _ => false,
        };
        let (name, url_given) = (self.options.server_context.as_deref(), is_given(self.url));
        let url = self.options.url.expose().to_owned();
        let ca_file = self.options.ca_file.as_deref().filter(|_| is_given(self.ca_file));
        let ca_file = ca_file.map(CaFile::Option);
        let store = self.options.home.store();
        if let Some(token) = self.options.token.as_ref().filter(|_| is_given(self.token)) {
            let token = token.expose().to_owned();
            let Some(name) = name.filter(|_| !url_given) else {
                return Ok(Endpoint { url, ca: read_ca(ca_file)?, token });
            };
            let contexts = store?.read()?;
            let (name, context) = contexts.select(Some(name))?;
            let ca = read_ca(ca_file.or(context.ca_file(name)))?;
            return Ok(Endpoint { url: context.url.clone(), ca, token });
        }
        let store = store?;
        let contexts = store.read()?;
        let (name, context) = contexts.select(name)?;
        if url_given && !context.is_at(&url) {
            // A token is not sent to a server that did not issue it.
            let message = format!(
                "the context `{name}` is signed in to another server than --url (TRIBUTARY_URL) \
                 names; run `tributary login` for that server, or give its token"
            );
            return Err(Failure::usage(vec![message]));
        }
        of_context(&store, name, ca_file).await
    }
}

/// Returns the address of the context `name`, and a token that is valid for some time. Trusts the certificates of
/// `ca_file`, or else of the context.
pub(super) async fn of_context(
    store: &Store,
    name: &str,
    ca_file: Option<CaFile<'_>>,
) -> Result<Endpoint, Failure> {
    let contexts = store.read()?;
    let (name, context) = contexts.select(Some(name))?;
    let ca = read_ca(ca_file.or(context.ca_file(name)))?;
    let token = match &context.session {
        Some(session) if is_fresh(session) => session.access_token.clone(),
        _ => refreshed(store, name, ca.as_deref()).await?,
    };
    Ok(Endpoint { url: context.url.clone(), ca, token })
}

fn is_fresh(session: &Session) -> bool {
    session.expires_at - Utc::now() > RENEW
}

/// Returns the next access token of the context `name`, unless another process has refreshed it.
async fn refreshed(store: &Store, name: &str, ca: Option<&[u8]>) -> Result<String, Failure> {
    let mut locked = store.lock()?;
    let Contexts { contexts, .. } = &mut locked.contexts;
    let ended = || {
        let message = format!(
            "the session of the context `{name}` has ended; run `tributary login --context {name}`"
        );
        Failure::from(anyhow::anyhow!(message))
    };
    let context = contexts.get_mut(name).ok_or_else(ended)?;
    let session = context.session.as_ref().ok_or_else(ended)?;
    if is_fresh(session) {
        return Ok(session.access_token.clone());
    }
    let tokens = match Client::trusting(&context.url, ca)?.refresh(&session.refresh_token).await {
        Err(Error::Problem(problem)) if problem.status == 401 => return Err(ended()),
        tokens => tokens?,
    };
    let session = context.session.insert(tokens.into());
    let token = session.access_token.clone();
    locked.write()?;
    Ok(token)
}

impl Args for Server {
    fn augment_args(command: Command) -> Command {
        let is_context = |arg: &clap::Arg| arg.get_long() == Some("context");
        let taken = command.get_arguments().any(is_context);
        if taken {
            Options::augment_args(command).mut_arg(CONTEXT, |arg| arg.long("server-context"))
        } else {
            Options::augment_args(command).mut_arg(CONTEXT, |arg| arg.alias("server-context"))
        }
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Server {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            options: Options::from_arg_matches(matches)?,
            url: matches.value_source("url"),
            ca_file: matches.value_source("ca_file"),
            token: matches.value_source("token"),
            context: matches.value_source(CONTEXT),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        server: Server,
    }

    #[test]
    fn an_invalid_value_is_not_repeated_and_a_valid_one_is_not_printed() {
        for arg in ["--url=hunter2 no url", "--url=http://a:changeme@h", "--token=changeme"] {
            let error = Cli::try_parse_from(["tributary", arg]).unwrap_err().to_string();
            assert!(error.contains("invalid value") && !error.contains("hunter2"), "{error}");
        }
        let args = ["tributary", "--url=http://a:hunter2@h", "--token=hunter2"];
        let shown = format!("{:?}", Cli::try_parse_from(args).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
