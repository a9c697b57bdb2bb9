//! `tributary migrate` as an owner of the database who is no superuser and may not create roles.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use devservers::testing;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tests::{Options, System, tributary};
use tokio::process::Command;

/// Returns the statements with which `docs/operations.md` creates the roles and `database`.
fn roles(database: &str) -> Result<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(page)?;
    let (_, block) = text.split_once("```sql\n").context("a block of SQL")?;
    let (block, _) = block.split_once("```").context("its end")?;
    let statements = block.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    Ok(statements
        .map(|statement| statement.replace("database tributary", &format!("database {database}")))
        .collect())
}

/// Replaces the database of `system` by one of the owner, and migrates it as the owner.
pub(crate) async fn give_to_owner(system: &mut System) -> Result<()> {
    empty_for_owner(system).await?;
    system.run(&["migrate"]).await?;
    Ok(())
}

/// Replaces the database of `system` by an empty one of the owner.
pub(crate) async fn empty_for_owner(system: &mut System) -> Result<()> {
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(&system.admin).await?;
    let options = PgConnectOptions::clone(&system.admin.connect_options());
    let mut superuser = PgConnection::connect_with(&options.clone().database("postgres")).await?;
    superuser.execute(format!("drop database {database} with (force)").as_str()).await?;
    for statement in roles(&database)? {
        if let Err(error) = superuser.execute(statement.as_str()).await {
            // The migration of the replaced database created the role.
            let exists = matches!(&error, sqlx::Error::Database(error)
                if error.code().as_deref() == Some("42710"));
            ensure!(exists, "{statement}: {error}");
        }
    }
    system.admin = PgPool::connect_with(options).await?;
    let admin_url = system.environment.iter_mut().find(|(name, _)| name == "DATABASE_ADMIN_URL");
    let admin_url = &mut admin_url.context("it is set")?.1;
    *admin_url = admin_url.replace("//postgres@", "//tributary_owner@");
    Ok(())
}

/// Runs `tributary ARGUMENTS`. Returns its exit code and what it wrote to stderr.
pub(crate) async fn attempt(
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(tributary());
    let output = command.args(arguments).envs(environment.iter().copied()).output().await?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

#[tokio::test]
async fn an_owner_who_may_not_create_roles_migrates_and_grants_again() -> Result<()> {
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    give_to_owner(&mut system).await?;
    let process = system.serve(&[]).await?;
    system.post("/api/v1/works", &json!({"add_up_to": 4})).send().await?.error_for_status()?;
    system.caught_up().await?;
    process.terminate().await?;

    // What a dump without privileges leaves out.
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(&system.admin).await?;
    for statement in [
        "revoke all on all tables in schema log from tributary_app".to_owned(),
        "revoke all on schema log from tributary_app".to_owned(),
        "revoke all on _sqlx_migrations from tributary_app".to_owned(),
        format!("revoke create on database {database} from tributary_app"),
    ] {
        system.admin.execute(statement.as_str()).await?;
    }
    ensure!(system.run(&["verify"]).await.is_err(), "without its rights, the role cannot read");
    system.run(&["migrate"]).await?;
    system.run(&["verify", "--projections"]).await?;
    system.run(&["rebuild", "--all"]).await?;

    // The rights that the migrations grant, and those that are granted again, are the same.
    let rights = "select string_agg(c.relname || ' ' || c.relacl::text, ', ' order by c.relname)
                  from pg_class c where c.relnamespace = 'log'::regnamespace";
    let again: String = sqlx::query_scalar(rights).fetch_one(&system.admin).await?;
    let mut other = PgConnectOptions::clone(&system.admin.connect_options()).database("postgres");
    let mut superuser = PgConnection::connect_with(&other).await?;
    superuser.execute("create database only_migrated owner tributary_owner").await?;
    other = other.database("only_migrated").username("tributary_owner");
    let mut owner = PgConnection::connect_with(&other).await?;
    let mut files: Vec<_> =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations"))?
            .map(|file| Ok(file?.path()))
            .collect::<Result<_>>()?;
    files.sort();
    for file in files {
        owner.execute(std::fs::read_to_string(file)?.as_str()).await?;
    }
    let migrated: String = sqlx::query_scalar(rights).fetch_one(&mut owner).await?;
    assert_eq!(again, migrated, "eventstore/src/grants.sql has the rights of all migrations");
    Ok(())
}

#[tokio::test]
async fn what_an_owner_may_not_do_is_named() -> Result<()> {
    let postgres = testing::start_postgres().await?;
    let mut superuser = PgConnection::connect(&postgres.admin_url()).await?;
    for statement in
        ["create role tributary_owner login", "create database owned owner tributary_owner"]
    {
        superuser.execute(statement).await?;
    }
    let migrate = async |database: &str, password: &str| {
        let admin_url = postgres.url(database, "tributary_owner");
        let url = postgres.url("owned", "tributary_app");
        let mut environment =
            vec![("DATABASE_ADMIN_URL", admin_url.as_str()), ("DATABASE_URL", url.as_str())];
        if !password.is_empty() {
            environment.push(("DATABASE_PASSWORD", password));
        }
        attempt(&["migrate"], &environment).await
    };
    let (code, errors) = migrate("owned", "").await?;
    assert_eq!(code, Some(1), "{errors}");
    let command = "create role tributary_app login; grant tributary_app to tributary_owner";
    ensure!(errors.contains("the role tributary_app does not exist"), "{errors}");
    ensure!(errors.contains(&format!("run `{command}`")), "{errors}");
    let (code, errors) = migrate("postgres", "").await?;
    assert_eq!(code, Some(1), "{errors}");
    ensure!(errors.contains("is not the owner of the database `postgres`"), "{errors}");

    // Does what the message says. The owner may not set the password.
    superuser.execute(command).await?;
    let password = "s3cr@t/#%$";
    let (code, errors) = migrate("owned", password).await?;
    assert_eq!(code, Some(0), "{errors}");
    ensure!(errors.contains("the password of tributary_app is not set"), "{errors}");
    ensure!(!errors.contains(password), "{errors}");
    let log = std::fs::read_to_string(postgres.directory().join("log"))?;
    ensure!(!log.contains(password), "the password is in the log of Postgres");

    superuser.execute("alter role tributary_owner createrole").await?;
    superuser.execute("grant tributary_app to tributary_owner with admin option").await?;
    let (code, errors) = migrate("owned", password).await?;
    assert_eq!((code, errors.contains("is not set")), (Some(0), false), "{errors}");
    Ok(())
}
