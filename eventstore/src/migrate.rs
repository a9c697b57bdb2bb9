//! Connecting to the database, and bringing its log up to date.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgConnection, PgPool};

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// How long a caller waits for a connection before it is told that the database is not reachable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Applies what is missing. Needs a role that owns the database; safe to run from several
/// processes at once.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), MigrateError> {
    MIGRATOR.run(connection).await
}

/// Begins another epoch, after the log was restored from a backup: what was written after the
/// backup is gone, and its positions will be given to other events. Returns its number.
pub async fn begin_epoch(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("update log.head set epoch = epoch + 1 returning epoch")
        .fetch_one(connection)
        .await
}

/// Gives the application's role its password. The migration makes the role without one, so that
/// no password stands in a file of ours.
pub async fn set_application_password(
    connection: &mut PgConnection,
    password: &str,
) -> Result<(), sqlx::Error> {
    let statement: String =
        sqlx::query_scalar("select format('alter role tributary_app password %L', $1)")
            .bind(password)
            .fetch_one(&mut *connection)
            .await?;
    connection.execute(statement.as_str()).await?;
    Ok(())
}

/// A pool of at most `connections`, made when they are first needed. No statement needs statistics
/// for a good plan: on a young table they are wrong, and the planner would scan it whole.
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
