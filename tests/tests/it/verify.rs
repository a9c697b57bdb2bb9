//! `tributary verify` finds every alteration of the log and of read models.

use std::process::Output;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{System, eventually};

/// Runs `tributary verify` with these arguments. Returns its exit code and stdout.
async fn verify_text(system: &System, more: &[&str]) -> Result<(i32, String)> {
    let Output { status, stdout, .. } = tokio::process::Command::new(tests::tributary())
        .args([&["verify"], more].concat())
        .envs(system.environment.iter().map(|(name, value)| (name, value)))
        .output()
        .await?;
    Ok((status.code().context("an exit code")?, String::from_utf8(stdout)?))
}

/// Does the same with `--json`. Returns exit code and report.
async fn verify(system: &System, more: &[&str]) -> Result<(i32, Value)> {
    let (code, report) = verify_text(system, &[&["--json"], more].concat()).await?;
    Ok((code, serde_json::from_str(&report)?))
}

async fn tamper(system: &System, sql: &str) -> Result<()> {
    sqlx::raw_sql(sql).execute(&system.admin).await?;
    Ok(())
}

async fn log() -> Result<System> {
    let system = System::start().await?;
    let process = system.serve(&["http", "projector"]).await?;
    for n in 0..20 {
        // Quotes, tabs, line breaks and backslashes have to be escaped in a dump.
        let body = json!({"n": n, "text": "a\t\"b\"\n\\c é"});
        system.post("/data", &body).send().await?.error_for_status()?;
    }
    system.caught_up().await?;
    process.kill().await?;
    Ok(system)
}

#[tokio::test]
async fn a_wrong_event_is_named() -> Result<()> {
    let system = log().await?;
    system.skip_end_check(); // Checkpoints and events are altered.
    let (code, report) = verify(&system, &[]).await?;
    assert_eq!((code, &report["ok"], &report["events"]), (0, &json!(true), &json!(20)), "{report}");

    // Each alteration is made as the owner of the database and then undone.
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
    assert_eq!((code, place), (4, json!(9)), "a row is missing");
    tamper(&system, restore).await?;

    tamper(&system, "delete from log.event where position = 20").await?;
    assert_eq!(position().await?.1, json!(20), "the last row is missing");
    tamper(&system, restore).await?;

    // Two events are swapped.
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

#[tokio::test]
async fn a_read_model_that_differs_from_the_log_is_found() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    for n in 0..20 {
        system.post("/data", &json!({"n": n})).send().await?.error_for_status()?;
        system.post("/api/v1/works", &json!({"add_up_to": 4})).send().await?.error_for_status()?;
    }
    system.caught_up().await?;
    let (code, report) = verify(&system, &["--projections"]).await?;
    assert_eq!((code, &report["ok"], &report["events"]), (0, &json!(true), &json!(40)), "{report}");
    let models = report["projections"].as_array().context("models")?;
    assert_eq!(models.len(), projections::names().len());
    for model in models {
        assert_eq!(model["differences"], json!([]), "{model}");
        assert_eq!((&model["position"], &model["replaced"]), (&json!(40), &json!(false)));
    }
    assert_eq!(verify(&system, &[]).await?.1.get("projections"), None, "not requested");

    // One row of a read model is altered.
    let oid = "select 'works'::regnamespace::oid::bigint";
    let before = system.number(oid).await?;
    tamper(
        &system,
        "update works.work set add_up_to = 5 where id = (select max(id::text)::uuid from works.work)",
    )
    .await?;
    let models = ["--projections", "works", "documents"];
    let (code, report) = verify(&system, &models).await?;
    assert_eq!((code, &report["ok"], &report["count"]), (4, &json!(false), &json!(0)), "{report}");
    let [documents, works] = report["projections"].as_array().context("two")?.as_slice() else {
        anyhow::bail!("not two models: {report}");
    };
    assert_eq!((&documents["name"], &documents["differences"]), (&json!("documents"), &json!([])));
    let difference = &works["differences"][0];
    assert_eq!(works["differences"].as_array().map(Vec::len), Some(1), "{works}");
    assert_eq!(
        (&difference["table"], &difference["only_live"], &difference["only_rebuilt"]),
        (&json!("work"), &json!(1), &json!(1))
    );
    let id: String = sqlx::query_scalar("select id::text from works.work where add_up_to = 5")
        .fetch_one(&system.admin)
        .await?;
    for side in ["live_examples", "rebuilt_examples"] {
        assert!(difference[side][0].as_str().is_some_and(|row| row.contains(&id)), "{difference}");
    }
    let (code, text) = verify_text(&system, &models).await?;
    assert!(code == 4 && text.contains("40 events up to 40"), "{text}");
    assert!(text.contains("works.work live: ") && text.contains("works.work rebuilt: "), "{text}");

    // The live model is unchanged and continues.
    assert_eq!(system.number(oid).await?, before, "the live model is the same one");
    let left = "select count(*) from pg_namespace where nspname like '%\\_\\_%'";
    assert_eq!(system.number(left).await?, 0, "no shadow schema is left");
    let left = "select count(*) from log.checkpoint where consumer like '%\\_\\_%'";
    assert_eq!(system.number(left).await?, 0, "no shadow schema is left");
    system.post("/api/v1/works", &json!({"add_up_to": 4})).send().await?.error_for_status()?;
    system.caught_up().await?;
    assert_eq!(system.number("select count(*) from works.work").await?, 21);

    // Findings of the log and of read models are in one report.
    tamper(
        &system,
        "create table kept as select data from log.event where position = 1;
         update log.event set data = '{\"n\":7777}' where position = 1",
    )
    .await?;
    let (code, report) = verify(&system, &["--projections", "works"]).await?;
    assert_eq!((code, &report["findings"][0]["position"]), (4, &json!(1)), "{report}");
    assert_eq!(report["projections"][0]["differences"].as_array().map(Vec::len), Some(1));

    // A running rebuild prevents the comparison: an error, not a difference.
    tamper(&system, "update works.work set add_up_to = 4").await?;
    let mut other = system.admin.acquire().await?;
    sqlx::query("select pg_advisory_lock(1919246950, hashtext('users'))")
        .execute(&mut *other)
        .await?;
    eventually("it is shown", async || {
        Ok(system.json("/api/v1/projections/users").await?["state"] == "rebuilding")
    })
    .await?;
    let restore = "update log.event set data = (select data from kept) where position = 1";
    tamper(&system, restore).await?;
    let (code, report) = verify(&system, &["--projections", "users", "works"]).await?;
    assert_eq!((code, &report["ok"], &report["count"]), (1, &json!(false), &json!(0)), "{report}");
    assert!(report["projections"][0]["error"].is_string(), "{report}");
    assert_eq!(report["projections"][1]["differences"], json!([]), "the others are compared");
    Ok(())
}

#[tokio::test]
async fn a_dump_has_no_models_to_compare() -> Result<()> {
    let system = System::start().await?;
    for arguments in [&["--dump", "log.dump", "--projections"][..], &["--projections", "nothing"]] {
        assert_eq!(verify_text(&system, arguments).await?.0, 2, "{arguments:?}");
    }
    Ok(())
}
