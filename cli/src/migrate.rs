//! `tributary migrate`: brings the database up to date.

use anyhow::Context;
use projections::Purpose;
use sqlx::{Connection, PgConnection};

use super::outcome::Failure;
use super::{output, rebuild};
use gateway::config::{Admin, Database};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The database was restored from a backup: begin another epoch, so that whoever follows the
    /// log notices that its history may have forked
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
        let mut connection = connect(&args.admin).await?;
        let epoch = eventstore::begin_epoch(&mut connection).await?;
        connection.close().await?;
        output::note(&format!("epoch {epoch} begins"));
    }
    output::note("the database is up to date");
    Ok(())
}

/// The log, the application's password and what read models need of the database, as its owner;
/// the schemas of the read models as the role that is to keep them.
pub(super) async fn migrate(admin: &Admin, database: &Database) -> Result<(), Failure> {
    let mut connection = connect(admin).await?;
    eventstore::migrate(&mut connection).await.context("the log could not be migrated")?;
    if let Some(password) = database.password()? {
        eventstore::set_application_password(&mut connection, &password).await?;
    }
    projections::prepare(&mut connection).await?;
    projections::create_schemas(&database.options()?).await?;
    let outdated = projections::outdated(&mut connection).await?;
    connection.close().await?;
    make_anew(outdated, database).await
}

/// Models of another version are made anew beside those that serve, and take their place.
async fn make_anew(outdated: Vec<&str>, database: &Database) -> Result<(), Failure> {
    if outdated.is_empty() {
        return Ok(());
    }
    output::note(&format!("made anew from the log: {}", outdated.join(", ")));
    let names: Vec<_> = outdated.into_iter().map(str::to_owned).collect();
    for (name, rebuilt) in rebuild::all(database.options()?, &names, Purpose::Replace, 1).await? {
        rebuilt.with_context(|| format!("{name} could not be rebuilt"))?;
    }
    Ok(())
}

async fn connect(admin: &Admin) -> Result<PgConnection, Failure> {
    Ok(PgConnection::connect(admin.database_admin_url.expose()).await?)
}
