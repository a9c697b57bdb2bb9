//! `tributary load`: options, progress bar and output of a load test.

use anyhow::anyhow;
use clap::ValueEnum;
use eventstore::{EventStore, Tasks};
use gateway::config::{Broker, Database, Span};
use loadtest::{Api, Error, InvalidSetting, MAX_DEVICES_PER_USER, MAX_RATE, Settings};
use tokio_util::sync::CancellationToken;

use crate::outcome::Failure;
use crate::output;
use crate::server::{Endpoint, Server};
use crate::signals::Signals;

mod print;
mod progress_bar;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many users
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    users: u32,
    /// How many devices each has; a device is a connection of its own
    #[arg(long, value_name = "COUNT", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DEVICES_PER_USER)))]
    devices_per_user: u32,
    /// Messages a second and device
    #[arg(long, value_name = "PER SECOND", default_value_t = 200.0, value_parser = rate)]
    rate: f64,
    /// How long messages are due
    #[arg(long, value_name = "TIME", default_value = "60s")]
    duration: Span,
    /// How devices send
    #[arg(long, value_enum, default_value_t = Mode::Mqtt)]
    mode: Mode,
    /// Name of the run, part of its users' ids (`load-NAME-u7`); random if left out
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Numbers that a reading holds, separated by commas
    #[arg(
        long,
        value_name = "FIELDS",
        value_delimiter = ',',
        default_value = "temperature,battery,humidity"
    )]
    payload: Vec<String>,
    /// How long nothing may happen before what is missing is given up
    #[arg(long, value_name = "TIME", default_value = "30s")]
    patience: Span,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    database: Database,
}

/// How devices send
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// A connection for each device, at service level 1
    Mqtt,
    /// A connection for each user, that sends what is due in batches
    Http,
}

impl From<Mode> for loadtest::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Mqtt => Self::Mqtt,
            Mode::Http => Self::Http,
        }
    }
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let json = args.json;
    let stop = CancellationToken::new();
    let endpoint = args.server.endpoint().await?;
    let settings = settings(args, endpoint)?;
    let bar = progress_bar::Bar::new();
    let report = tokio::select! {
        report = loadtest::run(settings, stop.clone(), |progress| bar.show(progress)) => {
            report.map_err(failure)?
        }
        interrupted = interrupted(&stop) => return interrupted,
    };
    drop(bar);
    let printed = if json { output::json(&report) } else { print::report(&report) };
    let verdict = match &report.faults()[..] {
        [] => Ok(()),
        faults => Err(anyhow!("{}", faults.join(", ")).into()),
    };
    output::conclude(printed, verdict)
}

fn settings(args: Args, Endpoint { url, ca, token }: Endpoint) -> Result<Settings, Failure> {
    let mistakes = Vec::from_iter(args.broker.mistake());
    if !mistakes.is_empty() {
        return Err(Failure::usage(mistakes));
    }
    let pool = eventstore::pool(args.database.options()?, 1);
    Ok(Settings {
        users: args.users,
        devices_per_user: args.devices_per_user,
        rate: args.rate,
        duration: args.duration.0,
        mode: args.mode.into(),
        run: args.run,
        fields: args.payload,
        patience: args.patience.0,
        api: Api { url, ca, token },
        broker: args.broker.options("load"), // Each device has a client id of its own.
        store: EventStore::open(pool, &Tasks::new(), CancellationToken::new()),
    })
}

/// The first signal ends the schedule, and what was sent is accounted for; the second ends the run.
async fn interrupted(stop: &CancellationToken) -> Result<(), Failure> {
    let mut signals = Signals::register()?;
    signals.next().await;
    stop.cancel();
    output::note("no further message is sent; interrupt again to end at once");
    signals.next().await;
    Err(anyhow!("interrupted").into())
}

/// The exit code distinguishes usage, and servers that are not reachable.
fn failure(error: Error) -> Failure {
    match error {
        Error::Settings(invalid) => Failure::usage(invalid.iter().map(usage).collect()),
        Error::Broker(_) => Failure::not_reachable(error),
        Error::Api(error) => error.into(),
        Error::Log(error) => error.into(),
        error => anyhow::Error::from(error).into(),
    }
}

fn usage(invalid: &InvalidSetting) -> String {
    let option = match invalid {
        InvalidSetting::Run => "--run",
        InvalidSetting::TooManyMessages => "--users, --devices-per-user, --rate, --duration",
        InvalidSetting::NoMessages => "--rate, --duration",
        InvalidSetting::Fields => "--payload",
    };
    format!("{option}: {invalid}")
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().map_err(|_not_a_number| "a number of messages a second")?;
    if (f64::MIN_POSITIVE..=MAX_RATE).contains(&rate) {
        Ok(rate)
    } else {
        Err(format!("more than nothing, and at most {MAX_RATE}"))
    }
}
