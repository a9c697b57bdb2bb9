//! `tributary dev`: all roles, with private Postgres, NATS and Mosquitto servers that it starts. Data
//! is kept between runs; the servers stop with the process.

mod admin;
mod banner;
mod seed;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use domain::Role;

use super::migrate::migrate;
use super::outcome::Failure;
use super::output;
use super::serve::{run_until_signal, start};
use super::signals::Signals;
use crate::host_agent;
use devservers::Servers;
use gateway::app::App;
use gateway::config::ProcessRole;
use gateway::config::{Admin, Config, Http, Worker};
use gateway::host_metrics;
use gateway::tokens::{Keys, make_key};

/// Name of the database in the private Postgres.
const DATABASE: &str = "tributary";
/// Postgres role that owns the database.
const OWNER: &str = "postgres";
/// Postgres role of the application; the first migration creates it.
const APPLICATION: &str = "tributary_app";
/// Lifetime of the token in `dev.env`, in days.
const TOKEN_DAYS: u64 = 30;
/// Interval between two samples of this host.
const AGENT_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for all data, created if it is missing
    #[arg(long, value_name = "DIRECTORY", default_value = ".tributary")]
    directory: PathBuf,
    /// Start without demo data
    #[arg(long)]
    no_seed: bool,
    #[command(flatten)]
    http: Http,
    #[command(flatten)]
    worker: Worker,
}

/// Configuration and keys for the servers that were started.
struct Started {
    admin: Admin,
    config: Config,
    keys: Keys,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut signals = Signals::register()?;
    output::note("starting Postgres, NATS and Mosquitto ...");
    let servers = tokio::select! {
        servers = Servers::start(&args.directory) => servers.map_err(anyhow::Error::from)?,
        () = signals.next() => return Ok(()),
    };
    let outcome = Box::pin(with_servers(&servers, args, signals)).await;
    servers.stop().await;
    outcome
}

async fn with_servers(servers: &Servers, args: Args, signals: Signals) -> Result<(), Failure> {
    let (directory, seed) = (args.directory.clone(), !args.no_seed);
    let started = started(servers, args)?;
    let postgres = &servers.postgres;
    postgres.create_database(DATABASE).await.map_err(anyhow::Error::from)?;
    migrate(&started.admin, &started.config.database).await?;
    let app = start(started.config.clone(), &ProcessRole::ALL).await?;
    if seed {
        seed::seed(app.parts()).await.context("cannot write the demo data")?;
    }
    run_agent(&app)?;
    let administrator = admin::administrator(app.parts(), &directory)
        .await
        .context("cannot register the first administrator")?;
    let lifetime = Duration::from_hours(24 * TOKEN_DAYS);
    let token = started.keys.sign(&administrator.id.to_string(), Role::Admin, lifetime)?;
    let address = app.address().context("the HTTP server has no address")?;
    let access = banner::Access {
        url: format!("http://localhost:{}", address.port()).parse().map_err(anyhow::Error::from)?,
        token: token.parse().map_err(anyhow::Error::from)?,
    };
    let Started { admin, config, .. } = &started;
    banner::write(&directory, &access, &administrator, config, admin, &servers.nats)?;
    match banner::print(&directory, &access, &started.config) {
        // The servers are wanted for what they do, not for their banner.
        Err(failure) if !failure.is_closed_pipe() => {
            app.stop().await;
            Err(failure)
        }
        _ => Box::pin(run_until_signal(app, signals)).await,
    }
}

/// Samples this host, as `tributary agent` does.
fn run_agent(app: &App) -> anyhow::Result<()> {
    let host = host_metrics::name().unwrap_or("localhost".parse()?);
    let settings = host_agent::Settings { host, every: AGENT_EVERY, hello: true };
    let broker = app.parts().config.mqtt.broker.options(&settings.client_id());
    app.spawn("agent", async move |shutdown| {
        if let Err(error) = host_agent::run(settings, broker, shutdown).await {
            tracing::error!(%error, "agent stopped");
        }
    });
    Ok(())
}

/// Returns the configuration for `servers`.
fn started(servers: &Servers, args: Args) -> anyhow::Result<Started> {
    let key = args.directory.join("signing-key.pem");
    let keys = keys(&key)?;
    let config = Config {
        http: args.http,
        worker: args.worker,
        ..Config::private(
            &servers.postgres.url(DATABASE, APPLICATION),
            &servers.nats.url_as("tributary"),
            &servers.mosquitto.url(),
            &key,
        )?
    };
    Ok(Started {
        admin: Admin {
            database_admin_url: servers.postgres.url(DATABASE, OWNER).parse()?,
            database_admin_password: None,
        },
        config,
        keys,
    })
}

/// Loads the signing key of an earlier run, so that its tokens stay valid, or creates one.
fn keys(file: &Path) -> anyhow::Result<Keys> {
    if file.exists() { Keys::load(file) } else { make_key(file) }
}
