//! Runs the commands of `docs/backup.md`: a base backup, an archive of the WAL, and a restore to a
//! point in time.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use devservers::testing;
use serde_json::json;
use sqlx::PgPool;
use tests::{Options, System, eventually, tributary};
use tokio::process::Command;

use crate::bus::read_from_the_beginning;
use crate::postgres::ready;
use crate::readme_commands::{blocks, paste};

/// Runs a script as the account of Postgres.
const AS_ACCOUNT: &str = r#"
account=$(stat -c %U "$BACKUP")
if [ "$(id -u)" = 0 ]; then
    setpriv --reuid="$account" --regid="$account" --clear-groups bash -euo pipefail -c "$SCRIPT"
else
    bash -euo pipefail -c "$SCRIPT"
fi
"#;

type Environment = Vec<(String, String)>;

async fn run(folder: &Path, environment: &Environment, script: &str) -> Result<()> {
    let mut environment = environment.clone();
    environment.push(("SCRIPT".into(), script.into()));
    paste(folder, &environment, AS_ACCOUNT).await.map(drop)
}

async fn works(system: &System, count: i64) -> Result<()> {
    for n in 0..count {
        system.post("/api/v1/works", &json!({"add_up_to": n})).send().await?.error_for_status()?;
    }
    eventually("all works are done", async || {
        system.caught_up().await?;
        Ok(system.number("select count(*) from works.work where not done").await? == 0)
    })
    .await
}

#[tokio::test]
async fn a_restore_to_a_point_in_time_loses_what_came_after_it_and_nothing_else() -> Result<()> {
    let page = blocks("docs/backup.md")?;
    let [archive, base, restore] = &page[..] else { anyhow::bail!("three blocks: {page:?}") };
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let mut postgres = system.postgres.take().context("its own")?;
    let backup = testing::directory("backup")?;
    let owner = format!("--reference={}", postgres.directory().display());
    let owned = Command::new("chown").arg(owner).arg(&backup).status().await?;
    ensure!(owned.success(), "chown {}", backup.display());
    let port = testing::free_port()?;
    let programs = postgres.program("pg_ctl");
    let path = [programs.parent(), tributary().parent()].map(|each| each.map(Path::display));
    let [Some(programs), Some(debug)] = path else { anyhow::bail!("programs have directories") };
    let path = format!("{programs}:{debug}:{}", std::env::var("PATH")?);
    let mut environment = system.environment.clone();
    environment
        .extend([("BACKUP".to_owned(), backup.display().to_string()), ("PATH".to_owned(), path)]);

    run(&backup, &environment, archive).await?;
    postgres.stop().await;
    postgres.restart().await?;
    let process = system.serve(&[]).await?;
    ready(&system).await?;
    works(&system, 10).await?;
    run(&backup, &environment, base).await?;
    works(&system, 10).await?;
    let (until, head): (String, i64) =
        sqlx::query_as("select clock_timestamp()::text, position from log.head")
            .fetch_one(&system.admin)
            .await?;
    works(&system, 10).await?;
    process.kill().await?;
    ensure!(system.head().await? > head, "there are events to lose");
    let sql = "select pg_walfile_name(pg_switch_wal())";
    let last: String = sqlx::query_scalar(sql).fetch_one(&system.admin).await?;
    eventually("the last change is archived", async || Ok(backup.join("wal").join(&last).exists()))
        .await?;
    postgres.stop().await;

    let (old, new) = (format!("127.0.0.1:{}/", postgres.port()), format!("127.0.0.1:{port}/"));
    let moved = |environment: &mut Environment| {
        for (_, value) in environment {
            *value = value.replace(&old, &new);
        }
    };
    moved(&mut environment);
    moved(&mut system.environment);
    let restored = backup.join("restored");
    environment.extend([
        ("UNTIL".to_owned(), until),
        ("RESTORED".to_owned(), restored.display().to_string()),
        ("PGPORT".to_owned(), port.to_string()),
    ]);
    run(&backup, &environment, restore).await?;
    let admin = system.environment.iter().find(|(name, _)| name == "DATABASE_ADMIN_URL");
    system.admin = PgPool::connect(&admin.context("it is set")?.1).await?;
    let checked = check(&system, head).await;
    let stop = format!("pg_ctl --pgdata='{}' --mode=immediate stop", restored.display());
    run(&backup, &environment, &stop).await?;
    checked
}

/// Checks that the restored log ends at `head`, that the read models are those of that time, and
/// that the stream, which holds later events, is refilled in a new epoch.
async fn check(system: &System, head: i64) -> Result<()> {
    assert_eq!(system.head().await?, head);
    assert_eq!(system.number("select epoch from log.head").await?, 2);
    assert_eq!(system.number("select count(*) from works.work where done").await?, 20);
    system.run(&["verify", "--projections", "works"]).await?;
    let process = system.serve(&[]).await?;
    system.caught_up().await?;
    read_from_the_beginning(&system.nats, head).await?;
    let client = async_nats::connect(system.nats.url()).await?;
    let stream = async_nats::jetstream::new(client).get_stream("EVENTS").await?;
    let last = stream.get_last_raw_message_by_subject("events.>").await?;
    let epoch = last.headers.get("Tributary-Epoch").context("an epoch")?;
    assert_eq!(epoch.as_str(), "2");
    works(system, 10).await?;
    read_from_the_beginning(&system.nats, system.head().await?).await?;
    process.kill().await
}
