//! Connecting to the database, and bringing its log up to date.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Executor, PgConnection};

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Applies what is missing. Needs a role that owns the database; safe to run from several
/// processes at once.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), MigrateError> {
    MIGRATOR.run(connection).await
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
