//! The log is what was appended, or it is said where it is not.

use std::process::Output;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::System;

/// `tributary verify` with these arguments: its exit code and its report.
async fn verify(system: &System, more: &[&str]) -> Result<(i32, Value)> {
    let Output { status, stdout, .. } = tokio::process::Command::new(tests::tributary())
        .args([&["verify", "--json"], more].concat())
        .envs(system.environment.iter().map(|(name, value)| (name, value)))
        .output()
        .await?;
    Ok((status.code().context("an exit code")?, serde_json::from_slice(&stdout)?))
}

async fn tamper(system: &System, sql: &str) -> Result<()> {
    sqlx::raw_sql(sql).execute(&system.admin).await?;
    Ok(())
}

async fn log() -> Result<System> {
    let system = System::start().await?;
    let process = system.serve(&["http", "projector"]).await?;
    for n in 0..20 {
        // Quotes, tabs, line breaks and backslashes: what a dump has to escape.
        let body = json!({"n": n, "text": "a\t\"b\"\n\\c é"});
        system.post("/data", &body).send().await?.error_for_status()?;
    }
    system.caught_up().await?;
    drop(process);
    Ok(system)
}

#[tokio::test]
async fn a_wrong_event_is_named() -> Result<()> {
    let system = log().await?;
    let (code, report) = verify(&system, &[]).await?;
    assert_eq!((code, &report["ok"], &report["events"]), (0, &json!(true), &json!(20)), "{report}");

    // Each as the owner of the database, and put right again.
    let position = async || -> Result<(i32, Value, Value)> {
        let (code, report) = verify(&system, &[]).await?;
        Ok((code, report["findings"][0]["position"].clone(), report["count"].clone()))
    };
    let keep = "create table kept as select * from log.event";
    tamper(&system, keep).await?;
    tamper(&system, "update log.event set data = replace(data::text, '\"n\":6', '\"n\":7')::json where position = 7")
        .await?;
    assert_eq!(position().await?, (4, json!(7), json!(1)), "a byte was flipped");
    let restore = "delete from log.event; insert into log.event select * from kept";
    tamper(&system, restore).await?;
    assert_eq!(position().await?.0, 0);

    tamper(&system, "delete from log.event where position = 9").await?;
    let (code, place, _) = position().await?;
    assert_eq!((code, place), (4, json!(9)), "a row is gone");
    tamper(&system, restore).await?;

    tamper(&system, "delete from log.event where position = 20").await?;
    assert_eq!(position().await?.1, json!(20), "the end is gone");
    tamper(&system, restore).await?;

    // Two change places.
    tamper(
        &system,
        "update log.event set position = -11 where position = 11;
         update log.event set position = 11 where position = 12;
         update log.event set position = 12 where position = -11",
    )
    .await?;
    assert_eq!(position().await?.1, json!(11), "they were renumbered");
    tamper(&system, restore).await?;

    tamper(&system, "update log.event set version = 5 where position = 13").await?;
    assert_eq!(position().await?, (4, json!(13), json!(2)), "the hash, and the stream's versions");
    tamper(&system, restore).await?;

    tamper(&system, "update log.checkpoint set position = 99 where consumer = 'works'").await?;
    let (code, report) = verify(&system, &[]).await?;
    let what = report["findings"][0]["what"].as_str().unwrap_or_default();
    assert!(code == 4 && what.contains("works"), "{report}");
    Ok(())
}

#[tokio::test]
async fn a_dump_is_verified_without_a_server() -> Result<()> {
    let system = log().await?;
    let help = system.run(&["verify", "--help"]).await?;
    let copy = help.split("\\copy (").nth(1).and_then(|rest| rest.split(") to").next());
    let query = copy.context("the help says how a dump is made")?.replace('\n', " ");
    let file = system.folder.join("log.dump");
    let mut connection = system.admin.acquire().await?;
    let statement = format!("copy ({query}) to stdout");
    let mut stream = connection.copy_out_raw(&statement).await?;
    let mut dump = Vec::new();
    while let Some(chunk) = futures::StreamExt::next(&mut stream).await {
        dump.extend_from_slice(&chunk?);
    }
    std::fs::write(&file, &dump)?;
    let path = file.to_str().context("a path")?;
    let (code, report) = verify(&system, &["--dump", path]).await?;
    assert_eq!((code, &report["events"]), (0, &json!(20)), "{report}");
    let live = verify(&system, &[]).await?.1;
    assert_eq!(report["hash"], live["hash"], "the same log");
    let text = String::from_utf8(dump)?.replace("\"n\":4", "\"n\":5");
    std::fs::write(&file, text)?;
    let (code, report) = verify(&system, &["--dump", path]).await?;
    assert_eq!((code, &report["findings"][0]["position"]), (4, &json!(5)), "{report}");
    Ok(())
}
