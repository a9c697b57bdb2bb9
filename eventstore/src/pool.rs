//! The connection pool that the log is read with.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// How long a caller waits for a connection before it gets an error.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns a pool of at most `connections` connections, which are opened on first use.
///
/// Sequential and bitmap scans are off: the statistics of a young table are wrong, and the planner
/// would scan all of it. Every statement has an index that suits it.
pub fn pool(options: PgConnectOptions, connections: u32) -> PgPool {
    let options = options.options([
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        ("jit", "off"),
        ("timezone", "UTC"),
    ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options)
}
