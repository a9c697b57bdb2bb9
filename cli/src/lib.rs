//! The commands of the executable `tributary`, one file each. Results go to stdout, everything else to
//! stderr. A library, so that it compiles while `gateway` does: an executable would wait.

mod text;
mod outcome;
mod output;
mod when;
mod password;
mod ca_file;
mod context_store;
mod server;
mod rows;
mod events;
mod log_source;
mod exporter;
mod logging;
mod signals;

mod login;
mod contexts;
mod serve;
mod dev;
mod health;
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
mod page_views;
mod event_list;
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
mod backup;
mod config;
mod openapi;
mod asyncapi;
mod completions;
#[cfg(test)]
mod pinned;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use gateway::config::{Log, SecretFiles, Traces, secret_files};
use outcome::Failure;

const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 failure, 2 usage error, 3 server not reachable, 4 difference found.
Each option can also be set by the environment variable that its help shows. For a URL, password or
token, NAME_FILE may name a file whose first line is the value of NAME.";

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
    /// Check that the roles on this machine are ready, for health checks of containers
    Health(health::Args),
    /// Migrate the database
    Migrate(migrate::Args),
    /// List, show, create and archive projects, and manage their members
    #[command(subcommand, alias = "project")]
    Projects(projects::Command),
    /// List, show, create, move, assign and delete tasks
    #[command(subcommand, alias = "task")]
    Tasks(tasks::Command),
    /// List, show and demand works
    #[command(subcommand, alias = "work")]
    Works(works::Command),
    /// List users, register administrators, and give users device namespaces
    #[command(subcommand, alias = "user")]
    Users(users::Command),
    /// List, show and add products, and receive their stock
    #[command(subcommand, alias = "product")]
    Products(products::Command),
    /// List, show, place, cancel and ship orders
    #[command(subcommand, alias = "order")]
    Orders(orders::Command),
    /// List and show devices, and list their readings
    #[command(subcommand, alias = "device")]
    Devices(devices::Command),
    /// Show, set and test alert rules
    #[command(subcommand, alias = "rule")]
    Rules(rules::Command),
    /// List, explain and acknowledge alerts
    #[command(subcommand, alias = "alert")]
    Alerts(alerts::Command),
    /// Show what the MQTT bridge would make of a message
    #[command(subcommand)]
    Mqtt(mqtt::Command),
    /// Summarize page views
    #[command(subcommand, alias = "page-view")]
    PageViews(page_views::Command),
    /// List events of the log, newest first
    #[command(subcommand, alias = "event")]
    Events(event_list::Command),
    /// Sample this host and publish the samples over MQTT
    Agent(agent::Args),
    /// Rebuild read models from the log while the live ones serve, then swap them
    Rebuild(rebuild::Args),
    /// Show the position and lag of every projection, process manager and publisher
    Lag(lag::Args),
    /// Simulate devices that publish readings, and account for every message
    Load(load::Args),
    /// Show the causation tree of an id: what caused it and what it caused
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
    /// Check whether a backup would restore what it should
    #[command(subcommand)]
    Backup(backup::Command),
    /// Sign in to a server; the session is stored as a context that other commands use
    Login(login::Args),
    /// End the session of a context
    Logout(login::Logout),
    /// List, choose and remove contexts: servers and accounts of `tributary login`
    #[command(subcommand, alias = "context")]
    Contexts(contexts::Command),
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
    let (command, files) = match secret_files(Cli::command()) {
        Ok(prepared) => prepared,
        Err(mistakes) => return Failure::usage(mistakes).report(),
    };
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(refused) if refused.use_stderr() => refused.format(&mut Cli::command()).exit(),
        Err(help) => return exit_code(output::help(&help)),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(anyhow::Error::from(error)).report(),
    };
    let exporter = match logging::start(&cli.log, &cli.traces) {
        Ok(exporter) => exporter,
        Err(error) => return Failure::from(error).report(),
    };
    let outcome = runtime.block_on(run(cli, &files));
    // Blocking tasks that are still running, such as the addition of a work, are not awaited.
    runtime.shutdown_background();
    drop(exporter);
    exit_code(outcome.and_then(|()| output::Stdout::lock().flush()))
}

fn exit_code(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli, files: &SecretFiles) -> Result<(), Failure> {
    let Cli { log, traces, command } = cli;
    match command {
        Command::Dev(args) => Box::pin(dev::run(args)).await,
        Command::Serve(args) => Box::pin(serve::run(args)).await,
        Command::Health(args) => health::run(args).await,
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
        Command::PageViews(command) => page_views::run(command).await,
        Command::Events(command) => event_list::run(command).await,
        Command::Agent(args) => agent::run(args).await,
        Command::Rebuild(args) => rebuild::run(args).await,
        Command::Lag(args) => lag::run(args).await,
        Command::Load(args) => Box::pin(load::run(args)).await,
        Command::Trace(args) => trace::run(args).await,
        Command::Parked(command) => parked::run(command).await,
        Command::Tail(args) => tail::run(args).await,
        Command::Replay(args) => Box::pin(replay::run(args)).await,
        Command::Verify(args) => verify::run(args).await,
        Command::Backup(command) => backup::run(command).await,
        Command::Login(args) => login::run(args).await,
        Command::Logout(args) => login::logout(args).await,
        Command::Contexts(command) => contexts::run(command),
        Command::Token(args) => token::run(&args),
        Command::Config(args) => config::run(&args, &log, &traces, files),
        Command::Openapi => openapi::run(),
        Command::Asyncapi => asyncapi::run(),
        Command::Completions(args) => completions::run::<Cli>(&args),
    }
}
