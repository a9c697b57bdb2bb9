//! The commands of the executable `tributary`, one file each. Results go to stdout, everything else to
//! stderr. A library, so that it compiles while `gateway` does: an executable would wait.

mod outcome;
mod output;
mod rows;
mod events;
mod exporter;
mod logging;
mod signals;

mod serve;
mod dev;
mod migrate;
mod projects;
mod tasks;
mod works;
mod users;
mod products;
mod orders;
mod devices;
mod rules;
mod alerts;
mod mqtt;
mod agent;
mod host_agent;
mod token;
mod rebuild;
mod lag;
mod trace;
mod load;
mod parked;
mod tail;
mod replay;
mod verify;
mod config;
mod openapi;
mod asyncapi;
mod completions;
#[cfg(test)]
mod pinned;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use gateway::config::{Log, Traces};
use outcome::Failure;

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 failure, 2 usage error, 3 server not reachable, 4 difference found.
Each option can also be set by the environment variable that its help shows.";

/// Event-sourced backend: commands in, events in one log, read models out
#[derive(Debug, Parser)]
#[command(name = "tributary", version = env!("TRIBUTARY_VERSION"),
          after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    log: Log,
    #[command(flatten)]
    traces: Traces,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all roles with private Postgres, NATS and Mosquitto servers, in `.tributary/`
    Dev(dev::Args),
    /// Run roles
    Serve(serve::Args),
    /// Migrate the database
    Migrate(migrate::Args),
    /// List, show, create and archive projects, and manage their members
    #[command(subcommand)]
    Projects(projects::Command),
    /// List, show, create, move, assign and delete tasks
    #[command(subcommand)]
    Tasks(tasks::Command),
    /// List, show and demand works
    #[command(subcommand)]
    Works(works::Command),
    /// Register administrators, and give users device namespaces
    #[command(subcommand)]
    Users(users::Command),
    /// List, show and add products, and receive their stock
    #[command(subcommand)]
    Products(products::Command),
    /// List, show, place, cancel and ship orders
    #[command(subcommand)]
    Orders(orders::Command),
    /// List and show devices, and list their readings
    #[command(subcommand)]
    Devices(devices::Command),
    /// Show, set and test alert rules
    #[command(subcommand)]
    Rules(rules::Command),
    /// List, explain and acknowledge alerts
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Show what the MQTT bridge would make of a message
    #[command(subcommand)]
    Mqtt(mqtt::Command),
    /// Sample this host and publish the samples over MQTT
    Agent(agent::Args),
    /// Rebuild read models from the log while the live ones serve, then swap them
    Rebuild(rebuild::Args),
    /// Show the position and lag of every projection, process manager and publisher
    Lag(lag::Args),
    /// Simulate devices that publish readings, and account for every message
    Load(load::Args),
    /// Show the causation tree of an event: what caused it and what it caused
    Trace(trace::Args),
    /// List, show, retry and skip parked streams
    #[command(subcommand)]
    Parked(parked::Command),
    /// Print events as they are committed
    Tail(tail::Args),
    /// Publish past events again, on stdout or on NATS
    Replay(replay::Args),
    /// Verify the hash chain of the log, and optionally the read models
    Verify(verify::Args),
    /// Sign a bearer token
    Token(token::Args),
    /// Print the effective configuration, without secrets
    Config(config::Args),
    /// Print the `OpenAPI` document of the HTTP API
    Openapi,
    /// Print the `AsyncAPI` document of the messages on NATS and MQTT
    Asyncapi,
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// Runs the command that the arguments of the process name, and returns its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(anyhow::Error::from(error)).report(),
    };
    let exporter = match logging::start(&cli.log, &cli.traces) {
        Ok(exporter) => exporter,
        Err(error) => return Failure::from(error).report(),
    };
    let outcome = runtime.block_on(run(cli));
    // Blocking tasks that are still running, such as the addition of a work, are not awaited.
    runtime.shutdown_background();
    drop(exporter);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { log, traces, command } = cli;
    match command {
        Command::Dev(args) => dev::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Projects(command) => projects::run(command).await,
        Command::Tasks(command) => tasks::run(command).await,
        Command::Works(command) => works::run(command).await,
        Command::Users(command) => users::run(command).await,
        Command::Products(command) => products::run(command).await,
        Command::Orders(command) => orders::run(command).await,
        Command::Devices(command) => devices::run(command).await,
        Command::Rules(command) => rules::run(command).await,
        Command::Alerts(command) => alerts::run(command).await,
        Command::Mqtt(command) => mqtt::run(command),
        Command::Agent(args) => agent::run(args).await,
        Command::Rebuild(args) => rebuild::run(args).await,
        Command::Lag(args) => lag::run(args).await,
        Command::Load(args) => Box::pin(load::run(args)).await,
        Command::Trace(args) => trace::run(args).await,
        Command::Parked(command) => parked::run(command).await,
        Command::Tail(args) => tail::run(args).await,
        Command::Replay(args) => Box::pin(replay::run(args)).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Token(args) => token::run(&args),
        Command::Config(args) => config::run(&args, &log, &traces),
        Command::Openapi => openapi::run(),
        Command::Asyncapi => asyncapi::run(),
        Command::Completions(args) => {
            completions::run::<Cli>(&args);
            Ok(())
        }
    }
}
