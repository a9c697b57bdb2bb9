//! Backup and restore of `docs/operations.md` by an owner who is no superuser, into a new cluster with
//! a new NATS and Mosquitto.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::PgPool;
use tests::{Options, System, eventually, tributary};

use crate::bus::read_from_the_beginning;
use crate::owner::{empty_for_owner, give_to_owner};
use crate::readme_commands::{blocks, paste};

/// Returns the number of rows and a checksum of every table of every read model.
async fn models(pool: &PgPool) -> Result<BTreeMap<String, (i64, Option<i64>)>> {
    let schemas = projections::names();
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = any($1)",
    )
    .bind(schemas)
    .fetch_all(pool)
    .await?;
    let mut models = BTreeMap::new();
    for table in tables {
        let sql = format!("select count(*), sum(hashtext(t::text))::bigint from {table} t");
        models.insert(table, sqlx::query_as(&sql).fetch_one(pool).await?);
    }
    Ok(models)
}

async fn traffic(system: &System, from: i64) -> Result<()> {
    for n in from..from + 30 {
        system.post("/api/v1/works", &json!({"add_up_to": n})).send().await?.error_for_status()?;
        let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": n, "x": n}]);
        system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
    }
    eventually("all works are done, and the device is there", async || {
        system.caught_up().await?;
        let sql = "select (select count(*) from works.work where not done)
                        + (select count(*) from telemetry.device where online is not true)";
        Ok(system.number(sql).await? == 0)
    })
    .await?;
    system.caught_up().await
}

#[tokio::test]
async fn a_backup_is_restored_into_a_new_cluster() -> Result<()> {
    let page = blocks("docs/operations.md")?;
    let block = |begins: &str| {
        let found = page.iter().find(|block| block.starts_with(begins)).cloned();
        found.with_context(|| format!("the page has a block that begins with {begins:?}"))
    };
    let mut before = System::start_with(Options { own_postgres: true }).await?;
    give_to_owner(&mut before).await?;
    let process = before.serve(&[]).await?;
    traffic(&before, 0).await?;
    let debug = tributary().parent().context("a folder")?.display().to_string();
    let tools = format!("alias tributary={debug}/tributary\n");
    let backup = tools.clone() + &block("# Back up")?;
    paste(&before.folder, &before.environment, &backup).await?;
    let (expected, head) = (models(&before.admin).await?, before.head().await?);
    assert!(expected.values().any(|(rows, _)| *rows >= 30), "{expected:?}");
    process.kill().await?;

    let mut after = System::start_with(Options { own_postgres: true }).await?;
    empty_for_owner(&mut after).await?;
    let dump = before.folder.join("tributary.dump");
    std::fs::copy(dump, after.folder.join("tributary.dump"))?;
    let restore = tools + &block("# Restore")?;
    paste(&after.folder, &after.environment, &restore).await?;
    assert_eq!(models(&after.admin).await?, expected, "as they were");

    after.run(&["verify", "--projections"]).await?;
    after.run(&["rebuild", "--all"]).await?;
    assert_eq!(models(&after.admin).await?, expected, "rebuilt as they were");
    let _process = after.serve(&[]).await?;
    after.caught_up().await?;
    assert_eq!(models(&after.admin).await?, expected, "nothing is done a second time");
    read_from_the_beginning(&after.nats, head).await?;
    let client = async_nats::connect(after.nats.url()).await?;
    let stream = async_nats::jetstream::new(client).get_stream("EVENTS").await?;
    let last = stream.get_last_raw_message_by_subject("events.>").await?;
    let epoch = last.headers.get("Tributary-Epoch").context("an epoch")?;
    assert_eq!(epoch.as_str(), "2");
    traffic(&after, 30).await?;
    read_from_the_beginning(&after.nats, after.head().await?).await?;
    Ok(())
}
