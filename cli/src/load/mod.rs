//! `tributary load`: sends what many devices would, on a schedule that nothing slows down, and keeps
//! a ledger of every message.
//!
//! Open loop: a message is due at its time whatever became of the ones before, and every latency
//! counts from then; what a stalled system makes late is counted as late, and sent late, not left
//! out. In the end the log is read, message by message: what was acknowledged must be there, once.

mod plan;
mod reading;
mod bits;
mod queue;
mod tally;
mod packets;
mod talk;
mod device;
mod mqtt;
mod http;
mod probe;
mod readings;
mod progress;
mod ledger;
mod stored;
mod report;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use domain::telemetry::{Reading, UserId};
use eventstore::EventStore;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::subscriber::NoSubscriber;
use uuid::Uuid;

use super::client::Client;
use super::outcome::Failure;
use super::output;
use super::signals::Signals;
use gateway::config::{Broker, Database, Server, Span};
use ledger::Ledger;
use plan::Plan;
use queue::Sent;
use report::{End, Quantiles, Report};
use tally::Tally;

/// The read model whose lag is told.
const PROJECTION: &str = "telemetry";
/// Most messages of a run: the ledger has two bits for each.
const MOST_MESSAGES: u64 = 500_000_000;
/// Most messages a second of one device.
const MOST_RATE: f64 = 100_000.0;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many users
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    users: u32,
    /// How many devices each has; a device is a connection of its own
    #[arg(long, value_name = "COUNT", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(readings::PAGE)))]
    devices_per_user: u32,
    /// Messages a second and device
    #[arg(long, value_name = "PER SECOND", default_value_t = 200.0, value_parser = rate)]
    rate: f64,
    /// How long messages are due
    #[arg(long, value_name = "TIME", default_value = "60s")]
    duration: Span,
    /// How devices send
    #[arg(long, default_value_t = Mode::Mqtt)]
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

/// The ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// A connection for each device, at service level 1
    Mqtt,
    /// A connection for each user, that sends what is due in batches
    Http,
}

impl Mode {
    /// What a message is acknowledged by.
    fn acknowledgement(self) -> &'static str {
        match self {
            Self::Mqtt => "PUBACK",
            Self::Http => "verdict",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mqtt => "mqtt",
            Self::Http => "http",
        })
    }
}

/// What all senders share.
#[derive(Debug, Clone)]
struct Controls {
    tally: Arc<Tally>,
    /// Nothing is due any more.
    stop: CancellationToken,
    /// What is not acknowledged will not be.
    give_up: CancellationToken,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let json = args.json;
    let report = load(args).await?;
    if json {
        output::json(&report)?;
    } else {
        report.print();
    }
    match &report.faults()[..] {
        [] => Ok(()),
        faults => Err(anyhow!("{}", faults.join(", ")).into()),
    }
}

async fn load(args: Args) -> Result<Report, Failure> {
    let plan = Arc::new(plan(&args)?);
    let client = Client::new(args.server.clone())?;
    client.get("/api/v1/devices", &[("limit", "1")]).await?; // It is there, and lets us in.
    let tasks = TaskTracker::new();
    let pool = eventstore::pool(args.database.options()?, 1);
    let store = EventStore::open(pool, &tasks, CancellationToken::new());
    let before = store.head().await.map_err(|error| Failure::from(error.0))?;
    let controls = Controls {
        tally: Arc::new(Tally::new()),
        stop: CancellationToken::new(),
        give_up: CancellationToken::new(),
    };
    let (patience, mode) = (args.patience.0, args.mode);
    let sending = send(args, Arc::clone(&plan), controls.clone());
    let seen_all = CancellationToken::new();
    let following = async {
        let (sent, mut end) = tokio::try_join!(sending, at_the_end(&plan, &controls, &store))?;
        end.report.acknowledged_after = end.at.elapsed().as_secs_f64();
        end.report.cpu_seconds = cpu_time().as_secs_f64();
        readings::wait(&client, &plan, &acknowledged(&plan, &sent), patience).await;
        end.report.visible_after = end.at.elapsed().as_secs_f64();
        seen_all.cancel();
        Ok::<_, Failure>((sent, end.report))
    };
    let probing = probe::run(&client, &plan, &controls.tally, &seen_all);
    let (sent, end, seen) = tokio::select! {
        done = async { tokio::try_join!(following, async { Ok(probing.await) }) } => {
            let ((sent, end), seen) = done?;
            (sent, end, seen)
        }
        ended = interrupted(&controls) => return ended,
        () = progress::run(&plan, &controls, patience) => return Err(anyhow!("unreachable").into()),
    };
    let mut ledger = Ledger::new(sent);
    stored::read(&store, &plan, before, &mut ledger, patience).await?;
    let tally = &controls.tally;
    let figures = tally.figures();
    Ok(Report {
        run: plan.run.clone(),
        mode,
        devices: plan.devices(),
        rate: plan.rate * f64::from(plan.devices()),
        sums: ledger.sums(),
        visible: readings::count(&client, &plan).await?,
        resent: figures.resent,
        refused: figures.refused,
        to_acknowledged: Quantiles::of(&tally.latency()),
        to_visible: Quantiles::of(&seen.latency),
        unanswered: seen.unanswered,
        end,
        troubles: tally.troubles(),
    })
}

/// Sends everything, on a thread of its own: what else this process does neither wakes it nor waits
/// for it, and it can never take more than one processor.
async fn send(args: Args, plan: Arc<Plan>, controls: Controls) -> Result<Vec<Sent>, Failure> {
    let senders = tokio::task::spawn_blocking(move || {
        // Every device would tell of its connection; what goes wrong is counted instead.
        let _quiet = tracing::subscriber::set_default(NoSubscriber::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(anyhow::Error::from)?.block_on(async {
            match args.mode {
                Mode::Mqtt => mqtt::run(plan, args.broker, controls).await,
                Mode::Http => http::run(plan, args.server, controls).await,
            }
        })
    });
    senders.await.context("the senders")?
}

/// The end of the schedule.
struct Ended {
    at: Instant,
    report: End,
}

/// Waits until nothing is due any more, and says how things stand then.
async fn at_the_end(
    plan: &Plan,
    controls: &Controls,
    store: &EventStore,
) -> Result<Ended, Failure> {
    let start = controls.tally.started().await;
    controls.stop.run_until_cancelled(sleep_until(start.at + plan.duration)).await;
    let (at, due) = (Instant::now(), progress::due(plan, start));
    let unacknowledged = due.saturating_sub(controls.tally.figures().acknowledged);
    // A database that is away just now has its own way of being seen.
    let statuses = projections::statuses(store, &[PROJECTION]).await.unwrap_or_default();
    let (events_behind, seconds_behind) =
        statuses.first().map_or((-1, -1.0), |status| (status.events_behind, status.seconds_behind));
    let report = End {
        seconds: (at - start.at).as_secs_f64(),
        unacknowledged,
        events_behind,
        seconds_behind,
        acknowledged_after: 0.0,
        visible_after: 0.0,
        cpu_seconds: 0.0,
    };
    Ok(Ended { at, report })
}

/// The first signal ends the schedule, and what was sent is accounted for; the second ends all.
async fn interrupted<T>(controls: &Controls) -> Result<T, Failure> {
    let mut signals = Signals::register()?;
    signals.next().await;
    controls.stop.cancel();
    output::note("nothing more is due; once more ends at once");
    signals.next().await;
    Err(anyhow!("interrupted").into())
}

/// How many of each user's messages are acknowledged.
fn acknowledged(plan: &Plan, sent: &[Sent]) -> Vec<u64> {
    let mut users = vec![0; plan.users as usize];
    for sent in sent {
        users[plan.user_of(sent.device) as usize] += sent.acknowledged.count();
    }
    users
}

/// Processor time of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.try_into().unwrap_or_default()
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().map_err(|_not_a_number| "a number of messages a second")?;
    if (f64::MIN_POSITIVE..=MOST_RATE).contains(&rate) {
        Ok(rate)
    } else {
        Err(format!("more than nothing, and at most {MOST_RATE}"))
    }
}

/// What the options ask for, or everything that is wrong with it.
fn plan(args: &Args) -> Result<Plan, Failure> {
    let mut mistakes = Vec::from_iter(args.broker.mistake());
    let plan = Plan {
        run: args.run.clone().unwrap_or_else(plan::random_run),
        boot: Uuid::now_v7(),
        users: args.users,
        devices_per_user: args.devices_per_user,
        rate: args.rate,
        duration: args.duration.0,
        fields: args.payload.clone(),
    };
    // The last user's id is the longest.
    if UserId::parse(&plan.user_id(plan.users)).is_err() {
        mistakes.push("--run: a few letters, digits or . _ : @ -".into());
    }
    if plan.total() > MOST_MESSAGES {
        mistakes.push(format!("more than {MOST_MESSAGES} messages in all"));
    }
    if plan.messages() == 0 {
        mistakes.push("--rate and --duration come to no message at all".into());
    }
    let plain = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !args.payload.iter().all(plain) || args.payload.len() > Reading::MAX_EXTRA_FIELDS {
        let most = Reading::MAX_EXTRA_FIELDS;
        mistakes.push(format!("--payload: at most {most} names of letters, digits or _"));
    }
    if mistakes.is_empty() { Ok(plan) } else { Err(Failure::usage(mistakes)) }
}
