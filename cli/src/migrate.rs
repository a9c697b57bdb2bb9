//! `tributary migrate`: migrates the database.

use anyhow::Context;
use eventstore::{APPLICATION_ROLE, MigrationError};
use projections::Purpose;
use sqlx::{Connection, PgConnection};

use super::outcome::Failure;
use super::{output, rebuild};
use gateway::config::{Admin, Database};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Start a new epoch, because the database was restored from a backup: subscribers then notice
    /// that the log may have lost events that they have seen
    #[arg(long)]
    after_restore: bool,
    #[command(flatten)]
    admin: Admin,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    migrate(&args.admin, &args.database).await?;
    if args.after_restore {
        let mut connection = connect(&args.admin, &args.database).await?;
        let epoch = eventstore::begin_epoch(&mut connection).await?;
        connection.close().await?;
        output::note(&format!("epoch {epoch} started"));
    }
    output::note("the database is up to date");
    Ok(())
}

/// Migrates the log, sets the application's password and prepares the database for read models, as
/// the owner of the database; creates the schemas of the read models as the application.
pub(super) async fn migrate(admin: &Admin, database: &Database) -> Result<(), Failure> {
    let mut connection = connect(admin, database).await?;
    eventstore::migrate(&mut connection).await?;
    if let Some(password) = database.password()?
        && !eventstore::set_application_password(&mut connection, &password).await?
    {
        output::note(&format!(
            "the password of {APPLICATION_ROLE} is not set: the owner of the database may not \
             change this role"
        ));
    }
    projections::prepare(&mut connection).await?;
    let application = database.options()?.without_time_limits();
    projections::create_schemas(&application).await?;
    let outdated = projections::outdated(&mut connection).await?;
    connection.close().await?;
    rebuild_outdated(outdated, database).await
}

/// Rebuilds read models whose schema is that of another version.
async fn rebuild_outdated(outdated: Vec<&str>, database: &Database) -> Result<(), Failure> {
    if outdated.is_empty() {
        return Ok(());
    }
    output::note(&format!("rebuilding outdated read models: {}", outdated.join(", ")));
    let names: Vec<_> = outdated.into_iter().map(str::to_owned).collect();
    let database = database.options()?.without_time_limits();
    for (name, rebuilt) in rebuild::all(database, &names, Purpose::Replace, 1).await? {
        rebuilt.with_context(|| format!("cannot rebuild {name}"))?;
    }
    Ok(())
}

async fn connect(admin: &Admin, database: &Database) -> Result<PgConnection, Failure> {
    Ok(admin.options(database)?.connect(&[]).await?)
}

impl From<MigrationError> for Failure {
    fn from(error: MigrationError) -> Self {
        match error {
            MigrationError::Unavailable(error) => error.into(),
            other => anyhow::Error::from(other).into(),
        }
    }
}
