//! Schema migrations of the log, and the password of the role that uses it.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Executor, PgConnection, Row};

use crate::error::Unavailable;

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Applies the pending migrations: creates the schema `log` or brings it up to date.
///
/// Needs a role that owns the database and may create roles. Safe to run from several processes at
/// once.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), MigrateError> {
    MIGRATOR.run(&mut *connection).await?;
    // Lets the application check that the log has every table it needs.
    connection.execute("grant select on _sqlx_migrations to tributary_app").await?;
    Ok(())
}

/// Fails if a migration that this build needs is missing. Needs the role `tributary_app` only.
pub(crate) async fn check(connection: &mut PgConnection) -> Result<(), Unavailable> {
    let newest = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default();
    let row = connection
        .fetch_one(
            "select coalesce(max(version), 0) as version from _sqlx_migrations where success",
        )
        .await?;
    let applied: i64 = row.try_get("version")?;
    if applied >= newest {
        return Ok(());
    }
    Err(Unavailable::from(sqlx::Error::RowNotFound)
        .noting(&format!("migration {newest} is missing")))
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
