//! Runs a load test from the first request to the report.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::subscriber::NoSubscriber;

use super::api::Client;
use super::controls::Controls;
use super::error::Error;
use super::ledger::Ledger;
use super::plan::Plan;
use super::progress::{self, Progress};
use super::queue::Sent;
use super::report::{End, Quantiles, Report};
use super::settings::{Api, Mode, Settings};
use super::stats::Stats;
use super::{http_sender, mqtt_sender, probe, stored, visible};

/// Runs a load test. After `stop`, no further message becomes due, and what was sent is accounted
/// for. Calls `report_progress` four times a second.
pub async fn run(
    settings: Settings,
    stop: CancellationToken,
    report_progress: impl Fn(Progress),
) -> Result<Report, Error> {
    let plan = Arc::new(settings.plan().map_err(Error::Settings)?);
    let Settings { mode, patience, api, broker, store, .. } = settings;
    let client = Client::new(&api)?;
    client.devices(None, 1).await?; // The API is reachable and accepts the token.
    let before = store.head().await?;
    let stats = Arc::new(Stats::new());
    let controls = Controls { stats: Arc::clone(&stats), stop, give_up: CancellationToken::new() };
    let sending = send(mode, api, broker, Arc::clone(&plan), controls.clone());
    let all_visible = CancellationToken::new();
    let following = async {
        let ending = async { Ok::<_, Error>(at_the_end(&plan, &controls, &client).await) };
        let (sent, (ended_at, mut end)) = tokio::try_join!(sending, ending)?;
        end.acknowledged_after = ended_at.elapsed().as_secs_f64();
        end.cpu_seconds = cpu_time().as_secs_f64();
        visible::wait(&client, &plan, &acknowledged(&plan, &sent), patience).await;
        end.visible_after = ended_at.elapsed().as_secs_f64();
        all_visible.cancel();
        Ok::<_, Error>((sent, end))
    };
    let probing = probe::run(&client, &plan, &stats, &all_visible);
    let measuring = async { tokio::try_join!(following, async { Ok::<_, Error>(probing.await) }) };
    let watching = async {
        progress::run(&plan, &controls, patience, report_progress).await;
        std::future::pending().await
    };
    let ((sent, end), seen) = tokio::select! {
        done = measuring => done?,
        never = watching => never,
    };
    let mut ledger = Ledger::new(sent);
    stored::read(&store, &plan, before, &mut ledger, patience).await?;
    let counts = stats.counts();
    Ok(Report {
        run: plan.run.clone(),
        mode,
        devices: plan.devices(),
        rate: plan.rate * f64::from(plan.devices()),
        sums: ledger.sums(),
        visible: visible::count(&client, &plan).await?,
        resent: counts.resent,
        refused: counts.refused,
        to_acknowledged: Quantiles::of(&stats.latencies()),
        to_visible: Quantiles::of(&seen.latencies),
        unanswered: seen.unanswered,
        end,
        troubles: stats.troubles(),
    })
}

/// Sends everything, on a thread of its own: it is not disturbed by the rest of this process, and
/// never takes more than one processor.
async fn send(
    mode: Mode,
    api: Api,
    broker: mqtt::Options,
    plan: Arc<Plan>,
    controls: Controls,
) -> Result<Vec<Sent>, Error> {
    let senders = tokio::task::spawn_blocking(move || {
        // Thousands of devices would log their connections; failures are counted instead.
        let _quiet = tracing::subscriber::set_default(NoSubscriber::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(Error::Runtime)?.block_on(async {
            match mode {
                Mode::Mqtt => mqtt_sender::run(plan, broker, controls).await,
                Mode::Http => http_sender::run(plan, api, controls).await,
            }
        })
    });
    senders.await?
}

/// Waits until no further message becomes due, and returns the state at that time.
async fn at_the_end(plan: &Plan, controls: &Controls, client: &Client) -> (Instant, End) {
    let start = controls.stats.started().await;
    controls.stop.run_until_cancelled(sleep_until(start.at + plan.duration)).await;
    let (at, due) = (Instant::now(), progress::due(plan, start));
    let unacknowledged = due.saturating_sub(controls.stats.counts().acknowledged);
    let lag = client.lag().await;
    let (events_behind, seconds_behind) = lag.map_or((-1, -1.0), |lag| (lag.events, lag.seconds));
    let end = End {
        seconds: (at - start.at).as_secs_f64(),
        unacknowledged,
        events_behind,
        seconds_behind,
        acknowledged_after: 0.0,
        visible_after: 0.0,
        cpu_seconds: 0.0,
    };
    (at, end)
}

/// The number of acknowledged messages of each user.
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
