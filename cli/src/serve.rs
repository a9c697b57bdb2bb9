//! `tributary serve`: plays roles until it is told to end.

use super::outcome::Failure;
use super::signals::Signals;
use gateway::app::App;
use gateway::config::Config;
use gateway::config::ProcessRole;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Roles to play; all of them if none is named
    #[arg(value_name = "ROLE")]
    roles: Vec<ProcessRole>,
    #[command(flatten)]
    config: Config,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut roles = args.roles;
    if roles.is_empty() {
        roles.extend(ProcessRole::ALL);
    }
    roles.sort_unstable();
    roles.dedup();
    let mistakes = args.config.mistakes(&roles);
    if !mistakes.is_empty() {
        return Err(Failure::usage(mistakes));
    }
    let signals = Signals::register()?;
    let app = App::start(args.config, &roles).await?;
    if let Some(address) = app.address() {
        tracing::info!(%address, "serving HTTP");
    }
    run_until_signal(app, signals).await
}

/// Lets `app` run until a signal, or until one of its roles fails; then ends it.
pub(super) async fn run_until_signal(mut app: App, mut signals: Signals) -> Result<(), Failure> {
    let failed = tokio::select! {
        () = signals.next() => None,
        error = app.ended() => Some(error),
    };
    tracing::info!("ending; once more ends at once");
    signals.finish_or_abort(app.stop()).await;
    match failed {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}
