//! `tributary dev`: all roles, with private Postgres, NATS and Mosquitto servers that it starts. Data
//! is kept between runs; the servers stop with the process.

mod admin;
mod banner;
mod demo;
mod people;
mod seed;
mod sensors;
mod visitors;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use client::Client;
use domain::Role;

use super::migrate::migrate;
use super::outcome::Failure;
use super::output;
use super::serve::{run_until_signal, start};
use super::signals::Signals;
use crate::host_agent;
use demo::{Demo, Speed};
use devservers::Servers;
use gateway::app::App;
use gateway::config::ProcessRole;
use gateway::config::{Admin, Config, Http, Span, Worker};
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
    /// Start without demo data, and without a demo
    #[arg(long)]
    no_seed: bool,
    /// Do not run the demo: with it, devices, customers and visitors make events all the time, about 6
    /// a second, and an alert every 75s
    #[arg(long)]
    quiet_demo: bool,
    /// Speed of the demo, a factor from 0.1 to 100; faster than 1, rules of alerts are suppressed,
    /// because each raises at most 5 an hour for a device
    #[arg(long, value_name = "FACTOR", default_value = "1")]
    demo_speed: Speed,
    /// Time for which the printed link to the console signs in, once, with a unit
    #[arg(long, value_name = "TIME", default_value = "10m")]
    sign_in_link_ttl: Span,
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
    let (directory, seed, speed) = (args.directory.clone(), !args.no_seed, args.demo_speed);
    let speed = Some(speed).filter(|_| seed && !args.quiet_demo);
    let link_ttl = args.sign_in_link_ttl.0;
    let Started { admin, config, keys } = started(servers, args)?;
    let postgres = &servers.postgres;
    postgres.create_database(DATABASE).await.map_err(anyhow::Error::from)?;
    migrate(&admin, &config.database).await?;
    let app = start(config.clone(), &ProcessRole::ALL).await?;
    let administrator = admin::administrator(app.parts(), &directory)
        .await
        .context("cannot register the first administrator")?;
    let address = app.address().context("the HTTP server has no address")?;
    let lifetime = Duration::from_hours(24 * TOKEN_DAYS);
    let token = keys.sign(&administrator.id.to_string(), Role::Admin, lifetime)?;
    if seed {
        let people =
            seed::seed(app.parts(), &administrator).await.context("cannot write the demo data")?;
        if let Some(speed) = speed {
            let api = Client::new(&format!("http://{}", reachable(address)))?;
            let broker = config.mqtt.broker.options("demo");
            let bus = config.bus.access()?;
            demo::start(&app, Demo { api, keys, people, broker, bus, speed });
        }
    }
    run_agent(&app)?;
    let code = app.parts().one_time_codes.issue(administrator.id, link_ttl);
    let access = banner::Access {
        url: format!("http://localhost:{}", address.port()).parse().map_err(anyhow::Error::from)?,
        token: token.parse().map_err(anyhow::Error::from)?,
        code: code.parse().map_err(anyhow::Error::from)?,
    };
    banner::write(&directory, &access, &administrator, &config, &admin, &servers.nats)?;
    match banner::print(&directory, &access, &config, speed) {
        // The servers are wanted for what they do, not for their banner.
        Err(failure) if !failure.is_closed_pipe() => {
            app.stop().await;
            Err(failure)
        }
        _ => Box::pin(run_until_signal(app, signals)).await,
    }
}

/// Returns an address at which this machine reaches a server that listens on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
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
