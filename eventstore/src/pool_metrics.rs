//! Metrics of the connection pool: its connections, and how long a caller waits for one.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};

/// Interval between two samples.
const EVERY: Duration = Duration::from_secs(1);

/// Samples until it is cancelled. A connection that was not given counts with the time waited for it.
pub(crate) async fn sample(pool: PgPool) {
    let most = pool.options().get_max_connections();
    metrics::gauge!("tributary_database_connections_max").set(most);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        let in_use = pool.size().saturating_sub(idle);
        for (state, count) in [("idle", idle), ("in_use", in_use)] {
            metrics::gauge!("tributary_database_connections", "state" => state).set(count);
        }
        let started = Instant::now();
        let acquired = pool.acquire().await;
        metrics::histogram!("tributary_database_acquire_seconds").record(started.elapsed());
        drop(acquired);
    }
}
