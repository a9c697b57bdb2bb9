//! `tributary backup check`: a copy that was restored from a dump passes; one that is too old, was
//! changed, went on by itself or is of another deployment is refused with a sentence.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Options, System, tributary};
use tokio::process::Command;

use crate::readme_commands::{blocks, paste};

const COPY: &str = "restored";

/// The database that was restored from a backup of a system, on the same server.
struct Restored {
    /// Environment of commands that use it.
    environment: Vec<(String, String)>,
    /// Connects as its owner.
    admin: PgPool,
}

impl Restored {
    /// Backs `system` up and restores the dump, by the commands of `docs/operations.md`.
    async fn of(system: &System) -> Result<Self> {
        let page = blocks("docs/operations.md")?;
        let debug = tributary().parent().context("a folder")?.display().to_string();
        let run = async |title: &str, environment: &[(String, String)]| -> Result<()> {
            let block = page.iter().find(|block| block.starts_with(title)).context("a block")?;
            let script = format!("alias tributary={debug}/tributary\n{block}");
            paste(&system.folder, environment, &script).await.map(drop)
        };
        run("# Back up", &system.environment).await?;
        let server = system.postgres.as_ref().context("its own")?;
        server.create_database(COPY).await?;
        let mut environment = system.environment.clone();
        for (name, role) in [("DATABASE_URL", "tributary_app"), ("DATABASE_ADMIN_URL", "postgres")]
        {
            let variable = environment.iter_mut().find(|(set, _)| set == name);
            variable.context("it is set")?.1 = server.url(COPY, role);
        }
        run("# Restore", &environment).await?;
        Ok(Self { environment, admin: PgPool::connect(&server.url(COPY, "postgres")).await? })
    }

    /// Checks the copy with these arguments. Returns exit code, stdout and stderr.
    async fn check(&self, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
        let output = Command::new(tributary())
            .args([&["backup", "check"], arguments].concat())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .await?;
        let (stdout, stderr) = (String::from_utf8(output.stdout)?, output.stderr);
        Ok((output.status.code(), stdout, String::from_utf8(stderr)?))
    }

    /// Checks the copy, which must pass. Returns the report.
    async fn passes(&self, arguments: &[&str]) -> Result<Value> {
        let (code, stdout, stderr) = self.check(&[&["--json"], arguments].concat()).await?;
        ensure!(code == Some(0), "{arguments:?}: {code:?}: {stdout}{stderr}");
        Ok(serde_json::from_str(&stdout)?)
    }

    /// Checks the copy, which must be refused with this exit code and a sentence that contains
    /// `sentence`. Returns what was printed besides.
    async fn is_refused(&self, arguments: &[&str], exit: i32, sentence: &str) -> Result<String> {
        let (code, stdout, stderr) = self.check(arguments).await?;
        ensure!(code == Some(exit), "{arguments:?}: {code:?}: {stdout}{stderr}");
        ensure!(stderr.contains(sentence), "{sentence:?} is not in {stderr}");
        Ok(stdout)
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        sqlx::raw_sql(sql).execute(&self.admin).await?;
        Ok(())
    }
}

async fn append(system: &System, count: i64) -> Result<()> {
    for n in 0..count {
        system.post("/data", &json!({"n": n})).send().await?.error_for_status()?;
    }
    Ok(())
}

fn database(system: &System) -> Result<&str> {
    let url = system.environment.iter().find(|(name, _)| name == "DATABASE_URL");
    Ok(&url.context("it is set")?.1)
}

#[tokio::test]
async fn a_restored_copy_passes_and_every_fault_of_it_is_named() -> Result<()> {
    let system = System::start_with(Options { own_postgres: true }).await?;
    let process = system.serve(&["http", "projector"]).await?;
    append(&system, 10).await?;
    system.caught_up().await?;
    let copy = Restored::of(&system).await?;
    let live = database(&system)?;

    // Nothing was appended since, so that a restore would lose nothing.
    let report = copy.passes(&["--live", live, "--max-age", "0s"]).await?;
    let deployment: String =
        sqlx::query_scalar("select id::text from log.deployment").fetch_one(&system.admin).await?;
    assert_eq!((&report["deployment"], &report["epoch"]), (&json!(deployment), &json!(2)));
    assert_eq!((&report["ok"], &report["position"]), (&json!(true), &json!(10)));
    assert_eq!(
        (&report["live"]["epoch"], &report["live"]["events_behind"]),
        (&json!(1), &json!(0))
    );

    append(&system, 3).await?;
    let report = copy.passes(&["--live", live, "--max-age", "26h"]).await?;
    let running = &report["live"];
    assert_eq!((&running["position"], &running["is_prefix"]), (&json!(13), &json!(true)));
    assert_eq!(
        (&running["events_behind"], &running["archive"]["enabled"]),
        (&json!(3), &json!(false))
    );
    assert!(running["seconds_behind"].as_f64().context("seconds")? > 0.0, "{report}");
    let report = copy.passes(&["--max-age", "26h"]).await?;
    assert!(report["live"].is_null() && report["age_seconds"].is_f64(), "{report}");

    let lost = "a restore would lose 3 events, the first of which was recorded ";
    let printed = copy.is_refused(&["--live", live, "--max-age", "1ms"], 1, lost).await?;
    assert!(
        printed.contains("3 events after the backup, the first of them recorded "),
        "{printed}"
    );
    let old = "the newest event of the backup was recorded ";
    copy.is_refused(&["--max-age", "1ms"], 1, old).await?;
    let archive = "is not within --max-archive-age 1m: off";
    copy.is_refused(&["--live", live, "--max-archive-age", "1m"], 1, archive).await?;

    let other = System::start().await?;
    let serving = other.serve(&["http", "projector"]).await?;
    append(&other, 1).await?;
    other.caught_up().await?;
    let sentence = format!("error: the backup is of deployment {deployment}, the running system");
    copy.is_refused(&["--live", database(&other)?], 4, &sentence).await?;
    serving.kill().await?;

    // An event is changed, then put back.
    copy.execute(
        r#"create table kept as select data from log.event where position = 7;
           update log.event set data = '{"n": 77}' where position = 7"#,
    )
    .await?;
    let findings = "error: the log of the backup has 1 findings";
    let printed = copy.is_refused(&["--live", live, "--max-age", "26h"], 4, findings).await?;
    assert!(printed.contains("position 7: event "), "{printed}");
    copy.execute("update log.event set data = (select data from kept) where position = 7").await?;
    copy.passes(&["--live", live]).await?;

    // The log of the running system is changed, with all hashes from there on.
    let history = "has another history than the backup (epoch 2) up to position 10";
    process.kill().await?;
    let hash = "update log.event set hash = sha256(hash) where position = 10";
    sqlx::raw_sql(hash).execute(&system.admin).await?;
    copy.is_refused(&["--live", live], 4, history).await?;
    system.skip_end_check();

    // The running system has lost events.
    sqlx::raw_sql("delete from log.event where position > 8; update log.head set position = 8")
        .execute(&system.admin)
        .await?;
    let sentence = "ends at position 8, before the backup, which ends at 10";
    copy.is_refused(&["--live", live], 4, sentence).await?;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_before_the_verification() -> Result<()> {
    let system = System::start().await?;
    let copy = Restored { environment: system.environment.clone(), admin: system.admin.clone() };
    for (arguments, exit, sentence) in [
        (&["--live", "http://localhost:8080"][..], 2, "--live: hashes of events are read from the"),
        (&["--max-archive-age", "10m"], 2, "--live <URL>"),
        (&["--max-age", "26"], 2, "a duration is a whole number with a unit"),
        (&["--live", "postgres://a@127.0.0.1:9/b"], 3, "error: --live: "),
        (&["--max-age", "26h"], 1, "the backup has no event"),
    ] {
        copy.is_refused(arguments, exit, sentence).await?;
    }
    let report = copy.passes(&["--live", database(&system)?, "--max-age", "26h"]).await?;
    assert_eq!((&report["events"], &report["newest_event_at"]), (&json!(0), &Value::Null));
    Ok(())
}
