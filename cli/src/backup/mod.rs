//! `tributary backup check`: whether a backup would restore, answered by a database that was restored
//! from it. Verifies the log, and compares it with the log of the running system.

mod live;
mod report;

use eventstore::LogReader;

use super::outcome::Failure;
use super::output;
use super::verify::{Findings, verify_log};
use gateway::config::{Database, ServerUrl, Span};
use live::LiveDatabase;
use report::{Limits, Report};

const EXIT_CODES: &str = "\
Exit codes: 0 the backup is good, 1 it is too old, 4 its log was changed or is not that of the
running system; 2 and 3 as for every command.";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check a database that was restored from a backup: its log, its age, and what it lacks
    Check(Check),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub(super) struct Check {
    /// URL of the database of the running system, with which the backup is compared: its log must begin
    /// with the events of the backup
    #[arg(long, env = "LIVE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    live: Option<ServerUrl>,
    /// Greatest age of the first event that the backup lacks, with a unit; without --live, of the newest
    /// event that it has
    #[arg(long, value_name = "TIME")]
    max_age: Option<Span>,
    /// Greatest age of the last segment of the WAL that the running system archived, with a unit
    #[arg(long, value_name = "TIME", requires = "live")]
    max_archive_age: Option<Span>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => check(args).await,
    }
}

async fn check(args: Check) -> Result<(), Failure> {
    let options = args.database.options()?.without_time_limits();
    let backup = LogReader::new(eventstore::pool(options, 1));
    let live = args.live.as_ref().map(LiveDatabase::at).transpose()?;
    let owner = backup.owner().await?;
    if let Some(live) = &live {
        // A wrong URL is found before the verification, which may take long.
        live.owner().await?;
    }
    let mut findings = Findings::default();
    let walk = verify_log(backup.clone(), &mut findings).await?;
    let (position, hash) = walk.at();
    let (_, newest) = backup.head_recorded().await?;
    let (live, now) = match &live {
        Some(live) => {
            let (live, now) = live.compare(position, hash).await?;
            (Some(live), now)
        }
        None => (None, backup.time_of_postgres().await?),
    };
    let mut report = Report {
        ok: false,
        deployment: owner.deployment,
        epoch: owner.epoch,
        events: walk.events,
        position: position.0,
        hash: hex::encode(hash),
        newest_event_at: newest,
        age_seconds: newest.map(|newest| live::seconds_since(newest, now)),
        count: findings.count,
        findings: findings.reported,
        live,
    };
    let limits = Limits { age: args.max_age, archive_age: args.max_archive_age };
    let verdict = report.verdict(limits);
    report.ok = verdict.is_ok();
    let printed = if args.json { output::json(&report) } else { report.print() };
    output::conclude(printed, verdict)
}
