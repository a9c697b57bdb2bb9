//! Schema migrations of the log, and the rights and the password of the role that uses it.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Executor, PgConnection, Row};

use crate::error::Unavailable;

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Role of the application, which may append to the log and read it.
pub const APPLICATION_ROLE: &str = "tributary_app";

/// Creates [`APPLICATION_ROLE`]: the first migration does, but a restored database has it applied.
const CREATE_ROLE: &str = "do $$
    begin
        if not exists (select from pg_roles where rolname = 'tributary_app') then
            create role tributary_app login;
        end if;
    exception when duplicate_object or unique_violation then
        null; -- Another database of the cluster is migrated at the same moment.
    end
    $$";

/// What [`APPLICATION_ROLE`] may do.
const GRANTS: &str = include_str!("grants.sql");

/// Why the log was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The role of the application is missing, and the owner may not create it.
    #[error(
        "the role {APPLICATION_ROLE} does not exist, and `{owner}` may not create roles: have an \
         administrator of Postgres run `create role {APPLICATION_ROLE} login; grant \
         {APPLICATION_ROLE} to {owner}`"
    )]
    NoRole {
        /// Role that migrates.
        owner: String,
    },
    /// The database belongs to another role, so that rights on it cannot be granted.
    #[error(
        "`{owner}` is not the owner of the database `{database}`: have an administrator of Postgres \
         run `alter database {database} owner to {owner}`, or set --database-admin-url to its owner"
    )]
    NotOwner {
        /// Role that migrates.
        owner: String,
        /// Database.
        database: String,
    },
    /// A migration failed.
    #[error("cannot migrate the log")]
    Migration(#[from] MigrateError),
    /// Postgres could not be asked, or refused a grant.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<sqlx::Error> for MigrationError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Applies the pending migrations: creates the schema `log` or brings it up to date. Then repeats
/// what the role of the application may do.
///
/// Needs a role that owns the database, and that may create roles if [`APPLICATION_ROLE`] does not
/// exist. Safe to run from several processes at once.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let row = connection
        .fetch_one(
            "select current_user::text as owner, current_database()::text as database,
                    pg_has_role(d.datdba, 'usage') as owns,
                    r.rolsuper or r.rolcreaterole
                        or exists (select from pg_roles where rolname = 'tributary_app') as has_role
             from pg_database d, pg_roles r
             where d.datname = current_database() and r.rolname = current_user",
        )
        .await?;
    let owner: String = row.try_get("owner")?;
    if !row.try_get::<bool, _>("owns")? {
        return Err(MigrationError::NotOwner { owner, database: row.try_get("database")? });
    }
    if !row.try_get::<bool, _>("has_role")? {
        return Err(MigrationError::NoRole { owner });
    }
    connection.execute(CREATE_ROLE).await?;
    MIGRATOR.run(&mut *connection).await?;
    connection.execute(GRANTS).await?;
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

/// Sets the password of [`APPLICATION_ROLE`]. Returns false if the owner may not set it.
///
/// The migration creates the role without a password, so that no file contains one. The owner's right
/// is checked first: Postgres would log the refused statement with the password.
pub async fn set_application_password(
    connection: &mut PgConnection,
    password: &str,
) -> Result<bool, sqlx::Error> {
    let allowed: bool = sqlx::query_scalar(
        "select rolsuper or (rolcreaterole and (
                    current_setting('server_version_num')::integer < 160000
                    or pg_has_role('tributary_app', 'member with admin option')))
         from pg_roles where rolname = current_user",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !allowed {
        return Ok(false);
    }
    let statement: String =
        sqlx::query_scalar("select format('alter role tributary_app password %L', $1)")
            .bind(password)
            .fetch_one(&mut *connection)
            .await?;
    connection.execute(statement.as_str()).await?;
    Ok(true)
}
