//! `tributary serve`: runs roles until a signal.

use super::outcome::Failure;
use super::signals::Signals;
use gateway::app::App;
use gateway::config::Config;
use gateway::config::ProcessRole;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Roles to run; without any, all of them
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
    let app = start(args.config, &roles).await?;
    Box::pin(run_until_signal(app, signals)).await
}

/// Starts `roles`, whose metrics name this build.
pub(super) async fn start(config: Config, roles: &[ProcessRole]) -> anyhow::Result<App> {
    gateway::metrics::build_info(env!("CARGO_PKG_VERSION"), env!("TRIBUTARY_BUILD_COMMIT"));
    App::start(config, roles).await
}

/// Runs `app` until a signal or until one of its roles fails, then stops it.
pub(super) async fn run_until_signal(mut app: App, mut signals: Signals) -> Result<(), Failure> {
    let failed = tokio::select! {
        () = signals.next() => None,
        error = app.ended() => Some(error),
    };
    tracing::info!("shutdown started; a further signal aborts it");
    let shutdown = async {
        if failed.is_none() {
            app.drain().await;
        }
        app.stop().await;
    };
    signals.finish_or_abort(shutdown).await;
    match failed {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}
