//! Page views over HTTP through the whole system: throughput, latency of a batch and lag of the
//! read model, whose counts are compared with what was sent.
//!
//! Open loop: each batch has a due time, independent of earlier responses, and its latency counts
//! from that time. Servers, roles and the generator share one machine; roles and generator one
//! process.
#![expect(clippy::print_stdout, reason = "the figures are the program's result")]
#![expect(clippy::cast_precision_loss, reason = "counts are small")]

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{SecondsFormat, TimeDelta, Utc};
use clap::Parser;
use devservers::Servers;
use domain::Role as UserRole;
use eventstore::EventStore;
use futures::future::try_join_all;
use gateway::app::App;
use gateway::config::Config;
use gateway::config::ProcessRole;
use gateway::tokens::make_key;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

/// Number of pages. One page of the list holds a few minutes of all of them.
const PAGES: u64 = 50;
/// Interval between two samples of the lag.
const LOOK: Duration = Duration::from_secs(2);
/// Longest wait for the last responses, and then for the read model.
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Parser)]
struct Arguments {
    /// Page views per second.
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Page views per request.
    #[arg(long, default_value_t = 100)]
    batch: u64,
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Number of sessions. Each occurs in many batches.
    #[arg(long, default_value_t = 20_000)]
    sessions: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = std::env::temp_dir().join(format!("tributary-bench-{}", std::process::id()));
    let servers = Servers::start(&folder).await?;
    let (app, token) = start(&servers, &folder).await?;
    let measured = measure(&arguments, &app, &token).await;
    app.stop().await;
    servers.stop().await;
    tokio::fs::remove_dir_all(&folder).await?;
    measured
}

/// Starts all roles on private servers. Returns them and a token.
async fn start(servers: &Servers, folder: &Path) -> Result<(App, String)> {
    servers.postgres.create_database("bench").await?;
    let owner: PgConnectOptions = servers.postgres.url("bench", "postgres").parse()?;
    let mut connection = owner.connect().await?;
    eventstore::migrate(&mut connection).await?;
    projections::prepare(&mut connection).await?;
    let application = servers.postgres.url("bench", "tributary_app");
    let options: PgConnectOptions = application.parse()?;
    projections::create_schemas(&options.into()).await?;
    let key = folder.join("signing-key.pem");
    let token = make_key(&key)?.sign("bench", UserRole::Admin, Duration::from_hours(1))?;
    let config = Config::private(
        &application,
        &servers.nats.url_as("tributary"),
        &servers.mosquitto.url(),
        &key,
    )?;
    Ok((App::start(config, &ProcessRole::ALL).await?, token))
}

async fn measure(arguments: &Arguments, app: &App, token: &str) -> Result<()> {
    let url = format!("http://{}/api/v1/page-views", app.address().context("HTTP is not served")?);
    let http = client::http(None)?.build()?;
    let requests = arguments.rate * arguments.seconds / arguments.batch;
    let sent = requests * arguments.batch;
    let from = Utc::now() - TimeDelta::minutes(1);

    let tasks = TaskTracker::new();
    let start = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "every handle is awaited")]
    let sending = (0..requests).map(|request| {
        // Computed from the start, so that rounding errors do not accumulate.
        let due = Duration::from_micros(request * arguments.batch * 1_000_000 / arguments.rate);
        let body = batch(arguments, request);
        let post = http.post(&url).json(&body);
        tasks.spawn(async move {
            sleep_until(start + due).await;
            post.send().await?.error_for_status()?;
            anyhow::Ok((start + due).elapsed())
        })
    });
    let sending: Vec<_> = sending.collect();
    let answered = async { timeout(PATIENCE, try_join_all(sending)).await };
    let (answered, most_behind) = watched(app, answered).await?;
    let took = start.elapsed();
    let mut latency = Histogram::<u64>::new(3)?;
    for answer in answered.context("responses are missing")?? {
        latency.record(u64::try_from(answer?.as_micros())?)?;
    }
    let shown = Instant::now();
    let caught_up = async {
        while behind(app).await? > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, caught_up).await.context("the read model does not catch up")??;
    let millis = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "{sent} page views in {requests} requests of {}, {:.1} s: {:.0}/s; answered p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms",
        arguments.batch,
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
        millis(0.5),
        millis(0.99),
        latency.max() as f64 / 1000.0,
    );
    println!(
        "the read model was at most {most_behind} events behind, and had all of them {:.0} ms after the last answer",
        shown.elapsed().as_secs_f64() * 1000.0,
    );
    adds_up(arguments, sent, async |query: &str| {
        let bounds = [from, Utc::now() + TimeDelta::minutes(1)]
            .map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
        let url = format!("{url}/stats?limit=500&from={}&to={}{query}", bounds[0], bounds[1]);
        let answer = http.get(url).bearer_auth(token).send().await?.error_for_status()?;
        let page: Value = answer.json().await?;
        page["items"].as_array().cloned().context("a list")
    })
    .await
}

/// Returns page and session of a view. Consecutive views differ in both.
fn who_and_where(arguments: &Arguments, view: u64) -> (u64, u64) {
    (view % PAGES, view * 7_919 / 3 % arguments.sessions)
}

fn batch(arguments: &Arguments, request: u64) -> Value {
    let views = request * arguments.batch..(request + 1) * arguments.batch;
    let views = views.map(|view| {
        let (page, session) = who_and_where(arguments, view);
        json!({
            "path": format!("/page-{page}"),
            "referrer": "https://example.org/search",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64) bench",
            "session_id": format!("session-{session}"),
        })
    });
    views.collect()
}

/// Returns the number of events that the read model has not applied yet.
async fn behind(app: &App) -> Result<i64> {
    let store: &EventStore = &app.parts().store;
    let head: i64 =
        sqlx::query_scalar("select position from log.head").fetch_one(store.pool()).await?;
    let here = app.parts().progress.of("page_views").context("there is no such projection")?;
    let here = *here.borrow();
    Ok((head - here.0).max(0))
}

/// Runs `work`. Returns its output and the largest lag of the read model meanwhile.
async fn watched<T>(app: &App, work: impl Future<Output = T>) -> Result<(T, i64)> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut most, mut work) = (0, std::pin::pin!(work));
    loop {
        tokio::select! {
            done = &mut work => return Ok((done, most)),
            _ = looks.tick() => most = most.max(behind(app).await?),
        }
    }
}

/// Checks that the read model has exactly the views that were sent.
async fn adds_up(
    arguments: &Arguments,
    sent: u64,
    stats: impl AsyncFn(&str) -> Result<Vec<Value>>,
) -> Result<()> {
    let mut expected = BTreeMap::<String, (u64, HashSet<u64>)>::new();
    for view in 0..sent {
        let (page, session) = who_and_where(arguments, view);
        let (views, sessions) = expected.entry(format!("/page-{page}")).or_default();
        *views += 1;
        sessions.insert(session);
    }
    let number = |row: &Value, name: &str| row[name].as_u64().unwrap_or_default();
    let asked = Instant::now();
    let whole = stats("").await?;
    let took = asked.elapsed();
    ensure!(whole.len() == expected.len(), "{} pages, not {}", whole.len(), expected.len());
    for row in &whole {
        let path = row["path"].as_str().unwrap_or_default();
        let (views, sessions) = expected.get(path).context("a page without views")?;
        let is = (number(row, "views"), number(row, "unique_sessions"));
        ensure!(is == (*views, sessions.len() as u64), "{row}: not {views}, {}", sessions.len());
    }
    let minutes = stats("&bucket=1m").await?;
    let views: u64 = minutes.iter().map(|row| number(row, "views")).sum();
    ensure!(views == sent, "the minutes add up to {views}, not {sent}");
    let unique: usize = expected.values().map(|(_, sessions)| sessions.len()).sum();
    println!(
        "the statistics are right: {sent} views of {PAGES} pages, {unique} unique sessions by page; asked for in {:.1} ms",
        took.as_secs_f64() * 1000.0
    );
    Ok(())
}
