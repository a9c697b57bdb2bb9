//! Watches Postgres for a process, on a connection of its own: whether it answers, why not, and what
//! its clock shows. The one place that logs outages.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Executor, PgConnection, Row};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::append::health::{AppendHealth, LastAppends};
use crate::clock::{LogClock, Sampled, uptime};
use crate::error::{ErrorChain, Unavailable};
use crate::migrate;
use crate::pool::{ConnectOptions, timed_out};

/// Interval between two checks.
const EVERY: Duration = Duration::from_secs(1);
/// Longest time of a check; a database that takes longer is not ready.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time to find out how a pooler gives out sessions, which takes up to six connections.
const POOLING_TIMEOUT: Duration = Duration::from_secs(10);
/// Age from which the last check no longer counts.
pub(crate) const STALE: Duration = Duration::from_secs(6);
/// Attempts to find two sessions that share a session of the server.
const POOLING_ATTEMPTS: usize = 3;

/// Why a process does not start behind a pooler that mixes sessions.
const TRANSACTION_POOLING: &str = "the connection pooler in front of Postgres gives each \
    transaction another session (transaction pooling), which loses settings, prepared statements \
    and locks: set its pool mode to `session`, or connect to Postgres directly";

/// What the last check found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checked {
    /// None before the first check.
    pub(crate) at: Option<Instant>,
    /// Why Postgres is unavailable; none if it answered.
    pub(crate) reason: Option<String>,
    pub(crate) clocks: Option<Clocks>,
    /// Why this process cannot work with this database at all.
    pub(crate) refused: Option<String>,
}

/// How clocks differ, as last measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// How far the clock of this process is ahead of that of Postgres; negative if behind.
    pub skew: TimeDelta,
    /// How far recorded times are ahead of the clock of Postgres, because they never fall and do not
    /// follow its leaps; negative if behind.
    pub correction: TimeDelta,
}

/// Requests that failed since Postgres last was available, and why the first of them did.
static REFUSED: Mutex<(u64, String)> = Mutex::new((0, String::new()));

/// Counts a request that failed because Postgres is unavailable. The monitor logs the count.
pub fn count_refused(error: &Unavailable) {
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.0 == 0 {
        refused.1 = ErrorChain(error).to_string();
    }
    refused.0 += 1;
}

pub(crate) struct Monitor {
    pub(crate) options: ConnectOptions,
    pub(crate) appends: AppendHealth,
    pub(crate) clock: LogClock,
    pub(crate) tolerance: Duration,
    pub(crate) checked: watch::Sender<Checked>,
}

/// What is remembered from one check to the next.
#[derive(Default)]
struct Memory {
    connection: Option<PgConnection>,
    /// Whether the pooler, if there is one, was found to keep sessions apart.
    pooling_checked: bool,
    /// Since when Postgres is unavailable.
    outage: Option<Instant>,
    logged: Logged,
}

/// Differences of clocks that were logged and have not gone.
#[derive(Default)]
struct Logged {
    skewed: bool,
    corrected: bool,
    leaping: bool,
}

impl Monitor {
    /// Checks until it is cancelled.
    pub(crate) async fn run(self) {
        let mut memory = Memory::default();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let checked = timeout(TIMEOUT, self.check(&mut memory)).await;
            let mut checked = checked.unwrap_or_else(|_elapsed| Err(timed_out().into()));
            if checked.is_ok()
                && !memory.pooling_checked
                && let Err(error) = self.check_pooling(&mut memory).await
            {
                checked = Err(error);
            }
            let failed = match &checked {
                Ok(_) => self.appends.failure(),
                Err(error) => Some(ErrorChain(error).to_string()),
            };
            memory.log(failed.as_deref());
            self.export(checked.is_ok());
            self.checked.send_modify(|state| {
                state.at = Some(Instant::now());
                match checked {
                    Ok(clocks) => (state.reason, state.clocks) = (None, Some(clocks)),
                    Err(error) => state.reason = Some(ErrorChain(&error).to_string()),
                }
            });
        }
    }

    /// Sets the metrics of Postgres and of the appender.
    fn export(&self, up: bool) {
        let LastAppends { committed_at, failure } = self.appends.last();
        metrics::gauge!("tributary_postgres_up").set(u8::from(up));
        metrics::gauge!("tributary_append_failing").set(u8::from(failure.is_some()));
        if let Some(at) = committed_at {
            let seconds = (at - DateTime::UNIX_EPOCH).as_seconds_f64();
            metrics::gauge!("tributary_last_append_timestamp_seconds").set(seconds);
        }
    }

    async fn check(&self, memory: &mut Memory) -> Result<Clocks, Unavailable> {
        let mut connection = match memory.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let asked = uptime();
        let row = connection
            .fetch_one("select clock_timestamp() as now, recorded_at from log.head")
            .await?;
        let latency = uptime().saturating_sub(asked);
        memory.connection = Some(connection);
        let (now, recorded_at) = (row.try_get("now")?, row.try_get("recorded_at")?);
        Ok(self.compare(memory, asked + latency / 2, now, recorded_at))
    }

    async fn connect(&self) -> Result<PgConnection, Unavailable> {
        let mut connection = self.options.connect(&[]).await?;
        migrate::check(&mut connection).await?;
        Ok(connection)
    }

    /// Refuses a pooler that mixes sessions. Has a time limit of its own: on a busy machine, six
    /// connections take longer than a check may, and the process would never be ready.
    async fn check_pooling(&self, memory: &mut Memory) -> Result<(), Unavailable> {
        let mixes = timeout(POOLING_TIMEOUT, mixes_sessions(&self.options)).await;
        if mixes.unwrap_or_else(|_elapsed| Err(timed_out()))? {
            tracing::error!("{TRANSACTION_POOLING}");
            self.checked.send_modify(|state| state.refused = Some(TRANSACTION_POOLING.into()));
        }
        memory.pooling_checked = true;
        Ok(())
    }

    /// Compares the clocks, given that Postgres showed `now` at the uptime `at`.
    fn compare(
        &self,
        memory: &mut Memory,
        at: Duration,
        now: DateTime<Utc>,
        recorded_at: DateTime<Utc>,
    ) -> Clocks {
        let since = TimeDelta::from_std(uptime().saturating_sub(at)).unwrap_or_default();
        let skew = Utc::now() - since - now;
        let sampled = self.clock.sample(at, now);
        let log_time = self.clock.now().map_or(now, |time| time - since);
        let clocks = Clocks { skew, correction: log_time.max(recorded_at) - now };
        memory.logged.clocks(sampled, clocks, self.tolerance);
        clocks
    }
}

impl Memory {
    /// Logs the start and the end of an outage.
    fn log(&mut self, failed: Option<&str>) {
        match (failed, self.outage) {
            (Some(reason), None) => {
                tracing::warn!(reason, "Postgres unavailable, retrying");
                self.outage = Some(Instant::now());
            }
            (Some(_), Some(_)) => {}
            (None, outage) => {
                let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
                let (requests, first) = std::mem::take(&mut *refused);
                if let Some(begun) = outage {
                    let seconds = begun.elapsed().as_secs();
                    tracing::info!(seconds, requests, "Postgres available again");
                } else if requests > 0 {
                    let reason = first.as_str();
                    tracing::warn!(requests, reason, "requests failed because of Postgres");
                }
                self.outage = None;
            }
        }
    }
}

impl Logged {
    /// Logs each difference of clocks when it appears and when it has gone.
    fn clocks(&mut self, sampled: Sampled, clocks: Clocks, tolerance: Duration) {
        let tolerance = TimeDelta::from_std(tolerance).unwrap_or(TimeDelta::MAX);
        let seconds = |delta: TimeDelta| delta.as_seconds_f64();
        metrics::gauge!("tributary_clock_skew_seconds").set(seconds(clocks.skew));
        metrics::gauge!("tributary_clock_correction_seconds").set(seconds(clocks.correction));
        match sampled {
            Sampled::Followed => self.leaping = false,
            Sampled::LeapIgnored(by) => {
                if !std::mem::replace(&mut self.leaping, true) {
                    let seconds = seconds(by);
                    tracing::warn!(seconds, "clock of Postgres leapt forward, not followed yet");
                }
            }
            Sampled::LeapConfirmed(by) => {
                let seconds = seconds(by);
                tracing::warn!(seconds, "clock of Postgres stayed ahead, followed now");
                self.leaping = false;
            }
            Sampled::SteppedBack(by) => {
                tracing::warn!(seconds = seconds(by), "clock of Postgres stepped back");
            }
        }
        let skewed = clocks.skew.abs() > tolerance;
        if skewed != std::mem::replace(&mut self.skewed, skewed) {
            let skew_seconds = seconds(clocks.skew);
            if skewed {
                tracing::warn!(skew_seconds, "clocks of this process and of Postgres differ");
            } else {
                tracing::info!(skew_seconds, "clocks of this process and of Postgres agree again");
            }
        }
        let corrected = clocks.correction.abs() > tolerance;
        if corrected != std::mem::replace(&mut self.corrected, corrected) {
            let correction_seconds = seconds(clocks.correction);
            if corrected {
                tracing::warn!(correction_seconds, "recorded times differ from Postgres's clock");
            } else {
                tracing::info!(correction_seconds, "recorded times follow Postgres's clock again");
            }
        }
    }
}

/// Returns whether two sessions share one session of the server: a setting of a session is gone
/// while another one is in a transaction.
async fn mixes_sessions(options: &ConnectOptions) -> Result<bool, sqlx::Error> {
    for _ in 0..POOLING_ATTEMPTS {
        let mut session = options.connect(&[("tributary.session", "kept")]).await?;
        let mut other = options.connect(&[]).await?;
        other.execute("begin; select 1").await?;
        let row = session
            .fetch_one("select coalesce(current_setting('tributary.session', true), '') as is_set")
            .await?;
        if row.try_get::<String, _>("is_set")? != "kept" {
            return Ok(true);
        }
    }
    Ok(false)
}
