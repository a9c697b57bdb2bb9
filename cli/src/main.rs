//! The executable `tributary`: one file a command. Results go to stdout, everything else to stderr.

mod outcome;
mod output;
mod client;
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

use gateway::config::{Log, Mistakes, Traces, parse};
use tikv_jemallocator::Jemalloc;

use outcome::{Failure, FailureKind};

/// With telemetry coming in, glibc's allocator took two fifths of our processor time: a message is
/// allocated in one thread and freed in another, thousands at once.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 not reachable, 4 found a difference.
Every option can be given in the environment, under the name its help shows.";

/// Commands in, events kept, read models out.
#[derive(Debug, Parser)]
#[command(name = "tributary", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
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
    /// Run everything, with private servers, in `.tributary/`
    Dev(dev::Args),
    /// Play roles; all of them if none is named
    Serve(serve::Args),
    /// Bring the database up to date
    Migrate(migrate::Args),
    /// Create projects, look at them, say who belongs to them
    #[command(subcommand)]
    Projects(projects::Command),
    /// Create tasks, look at them, move and assign them
    #[command(subcommand)]
    Tasks(tasks::Command),
    /// Demand works and look at them
    #[command(subcommand)]
    Works(works::Command),
    /// Make administrators
    #[command(subcommand)]
    Users(users::Command),
    /// Add products, and their stock, and look at them
    #[command(subcommand)]
    Products(products::Command),
    /// Place orders, and look at them
    #[command(subcommand)]
    Orders(orders::Command),
    /// Look at devices and what they measured
    #[command(subcommand)]
    Devices(devices::Command),
    /// Look at alert rules, set them, try them out
    #[command(subcommand)]
    Rules(rules::Command),
    /// Look at alerts, and acknowledge them
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Sample this host and publish what is seen over MQTT
    Agent(agent::Args),
    /// Make read models anew beside those that serve, and put them in their place
    Rebuild(rebuild::Args),
    /// Show how far every projection, process manager and publisher is behind the log
    Lag(lag::Args),
    /// Send what many devices would, and account for every message
    Load(load::Args),
    /// Show what caused an event and what it caused
    Trace(trace::Args),
    /// Look at parked streams, have them tried again, pass over an event
    #[command(subcommand)]
    Parked(parked::Command),
    /// Show events as they are committed, from now or from a position on
    Tail(tail::Args),
    /// Tell events again, on stdout or on NATS
    Replay(replay::Args),
    /// Check that the log is what was appended
    Verify(verify::Args),
    /// Make a bearer token
    Token(token::Args),
    /// Show the configuration as it is in effect, without its secrets
    Config(config::Args),
    /// Print the `OpenAPI` document
    Openapi,
    /// Print the `AsyncAPI` document, about messages on NATS and MQTT
    Asyncapi,
    /// Print completions for a shell
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let cli = match parse::<Cli>(std::env::args_os()) {
        Ok(cli) => cli,
        Err(Mistakes::Clap(error)) => {
            // Help on stdout, mistakes on stderr; a closed pipe is nobody's fault.
            drop(error.print());
            let usage = error.use_stderr();
            return if usage { FailureKind::Usage.into() } else { ExitCode::SUCCESS };
        }
        Err(Mistakes::Values(mistakes)) => return Failure::usage(mistakes).report(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(anyhow::Error::from(error)).report(),
    };
    let exporter = match logging::start(&cli.log, &cli.traces) {
        Ok(exporter) => exporter,
        Err(error) => return Failure::from(error).report(),
    };
    let outcome = runtime.block_on(run(cli));
    // What is left, such as an addition on a thread of its own, does not hold up the end.
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
