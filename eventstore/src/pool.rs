//! The connection pool that the log is read with.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

/// How long a caller waits for a connection before it gets an error.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a released connection may be busy with the statement of a caller that went away.
const ABANDONED: Duration = Duration::from_secs(1);

/// Returns whether the connection is ready for the next caller. One that is not is closed: otherwise
/// callers that go away while their statements wait for a lock would occupy the whole pool.
async fn is_ready(connection: &mut PgConnection) -> bool {
    timeout(ABANDONED, connection.flush()).await.is_ok_and(|flushed| flushed.is_ok())
}

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
        .after_release(|connection, _| Box::pin(async { Ok(is_ready(connection).await) }))
        .connect_lazy_with(options)
}
