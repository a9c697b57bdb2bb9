//! Runs the commands of `docs/backup.md`: a base backup, an archive of the WAL, a restore to a point in
//! time, and the check of what was restored.

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

async fn run(folder: &Path, environment: &Environment, script: &str) -> Result<String> {
    let mut environment = environment.clone();
    environment.push(("SCRIPT".into(), format!("PATH=$PROGRAMS:$PATH\n{script}")));
    paste(folder, &environment, AS_ACCOUNT).await
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
    let [archive, base, restore, check_copy] = &page[..] else {
        anyhow::bail!("four blocks: {page:?}")
    };
    let mut system = System::start_with(Options { own_postgres: true }).await?;
    let mut postgres = system.postgres.take().context("its own")?;
    let backup = testing::directory("backup")?;
    let owner = format!("--reference={}", postgres.directory().display());
    let owned = Command::new("chown").arg(owner).arg(&backup).status().await?;
    ensure!(owned.success(), "chown {}", backup.display());
    let port = testing::free_port()?;
    let programs = postgres.program("pg_ctl");
    let programs = programs.parent().context("a folder")?.display();
    let debug = tributary().parent().context("a folder")?.display().to_string();
    let mut environment = system.environment.clone();
    environment.extend([
        ("BACKUP".to_owned(), backup.display().to_string()),
        ("PROGRAMS".to_owned(), format!("{programs}:{debug}")),
    ]);

    // For the restored server, which has no settings on its command line.
    let sockets = format!("unix_socket_directories = '{}'", backup.display());
    for setting in [&sockets, "max_connections = 200"] {
        sqlx::query(&format!("alter system set {setting}")).execute(&system.admin).await?;
    }
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

    let database = environment.iter().find(|(name, _)| name == "DATABASE_URL");
    let live = database.context("it is set")?.1.clone();
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
    if let Err(error) = run(&backup, &environment, restore).await {
        let log = std::fs::read_to_string(backup.join("restored.log")).unwrap_or_default();
        return Err(error.context(log));
    }
    // The old server still runs.
    environment.push(("LIVE_DATABASE_URL".to_owned(), live));
    let printed = run(&backup, &environment, check_copy).await?;
    for expected in [", epoch 2", "epoch 1, ", " events after the backup", "last segment "] {
        ensure!(printed.contains(expected), "{expected:?} is not in {printed}");
    }
    postgres.stop().await;
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
    let client = async_nats::connect(system.nats.url()).await?;
    let stream = async_nats::jetstream::new(client).get_stream("EVENTS").await?;
    eventually("the stream is refilled in the new epoch", async || {
        let Ok(last) = stream.get_last_raw_message_by_subject("events.>").await else {
            return Ok(false);
        };
        Ok(last.headers.get("Tributary-Epoch").context("an epoch")?.as_str() == "2")
    })
    .await?;
    read_from_the_beginning(&system.nats, head).await?;
    works(system, 10).await?;
    read_from_the_beginning(&system.nats, system.head().await?).await?;
    process.kill().await
}
