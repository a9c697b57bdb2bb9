//! Schema migrations of the log, and the password of the role that uses it.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Executor, PgConnection};

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Applies the pending migrations: creates the schema `log` or brings it up to date.
///
/// Needs a role that owns the database and may create roles. Safe to run from several processes at
/// once.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), MigrateError> {
    MIGRATOR.run(connection).await
}

/// Sets the password of the role `tributary_app`, which may append to and read the log.
///
/// The migration creates the role without a password, so that no file contains one.
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
