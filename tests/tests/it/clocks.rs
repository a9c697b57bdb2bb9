//! One clock: what is due, leased or silent is judged by the clock of the log, whatever the clock of a
//! process shows, and also while the clock of Postgres leaps.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use devservers::{Postgres, postgres};
use serde_json::{Value, json};
use tests::{System, eventually};

use crate::postgres::ready;

/// Settings of libfaketime: only the clock of the day is changed, and its file is read again.
pub(crate) const REREAD: [(&str, &str); 2] =
    [("DONT_FAKE_MONOTONIC", "1"), ("FAKETIME_NO_CACHE", "1")];

/// Returns the path of libfaketime, which is in another directory on each system.
pub(crate) fn libfaketime() -> Result<String> {
    let library = std::process::Command::new("sh")
        .args([
            "-c",
            "ls /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib*/faketime/libfaketimeMT.so.1",
        ])
        .output()?;
    let paths = String::from_utf8(library.stdout)?;
    Ok(paths.lines().next().context("libfaketime is not installed")?.to_owned())
}

/// Waits until the work is done. Returns the seconds from the demand to the completion as recorded.
async fn done(system: &System) -> Result<i64> {
    let work: Value =
        system.post("/api/v1/works", &json!({"add_up_to": 4})).send().await?.json().await?;
    let id = work["id"].as_str().context("an id")?;
    eventually("the work is done", async || {
        Ok(system.json(&format!("/api/v1/works/{id}")).await.is_ok_and(|work| work["done"] == true))
    })
    .await?;
    let work = system.json(&format!("/api/v1/works/{id}")).await?;
    let seconds = |name: &str| work[name].as_i64().context("seconds");
    Ok(seconds("updated_on")? - seconds("created_on")?)
}

/// The clock of a worker that is behind by an hour, and of one that is ahead.
#[tokio::test]
async fn a_demanded_work_is_due_at_once_whatever_the_clock_of_the_worker() -> Result<()> {
    let library = libfaketime()?;
    for (offset, skew) in [("-3600s", -3600.0), ("+3600s", 3600.0)] {
        let system = System::start().await?;
        let mut more = REREAD.to_vec();
        more.extend([("LD_PRELOAD", library.as_str()), ("FAKETIME", offset)]);
        // Its own tokens would be expired for it, or not valid yet.
        let mut worker = system.serve_with(&["worker"], &more).await?;
        worker.logs("clocks of this process and of Postgres differ").await?;
        let _process = system.serve(&["http", "projector"]).await?;
        ensure!(done(&system).await? < 60, "the recorded times are those of Postgres");

        more.push(("PORT", "0"));
        let mut skewed = system.serve_with(&["http"], &more).await?;
        let url = format!("http://127.0.0.1:{}/readyz", skewed.http_port().await?);
        eventually("/readyz shows the skew", async || {
            let health: Value = system.http.get(&url).send().await?.json().await?;
            let shown = health["clock"]["skew_seconds"].as_f64();
            Ok(shown.is_some_and(|shown| (shown - skew).abs() < 60.0))
        })
        .await?;
    }
    Ok(())
}

/// A failed attempt is repeated after its backoff, and a device is silent after its time, also for a
/// worker whose clock is behind.
#[tokio::test]
async fn backoff_and_silence_are_judged_by_the_clock_of_the_log() -> Result<()> {
    let library = libfaketime()?;
    let system = System::start().await?;
    let mut more = REREAD.to_vec();
    more.extend([("LD_PRELOAD", library.as_str()), ("FAKETIME", "-3600s")]);
    more.extend([("DEVICE_INACTIVE_AFTER", "1s"), ("PRESENCE_TICK", "50ms")]);
    more.extend([("WORKER_TIME_LIMIT", "1ms"), ("WORKER_MAX_ATTEMPTS", "2")]);
    let _worker = system.serve_with(&["worker"], &more).await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let work = json!({"add_up_to": u32::MAX});
    system.post("/api/v1/works", &work).send().await?.error_for_status()?;
    eventually("both attempts failed", async || {
        Ok(system.number("select count(*) from works.work where status = 'given_up'").await? == 1)
    })
    .await?;
    let reading = json!([{"user_id": "u", "device_id": "d", "sequence_id": 1, "x": 1}]);
    system.post("/api/v1/telemetry", &reading).send().await?.error_for_status()?;
    eventually("the silent device is offline", async || {
        let offline = "select count(*) from telemetry.device where online = false";
        Ok(system.number(offline).await? == 1)
    })
    .await
}

/// A directory with programs that run those of Postgres with a clock that `file` sets.
fn leaping_programs(directory: &Path, file: &Path) -> Result<PathBuf> {
    let found = std::process::Command::new("sh")
        .args([
            "-c",
            "ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null | sort -V | tail -1",
        ])
        .output()?;
    let programs = String::from_utf8(found.stdout)?.trim().to_owned();
    std::fs::create_dir_all(directory)?;
    for name in ["postgres", "initdb", "pg_config"] {
        let library = if name == "postgres" { libfaketime()? } else { String::new() };
        let script = format!(
            "#!/bin/sh\nexport LD_PRELOAD={library} DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1\n\
             export FAKETIME_TIMESTAMP_FILE={}\nexec {programs}/{name} \"$@\"\n",
            file.display(),
        );
        let written = directory.join("script");
        std::fs::write(&written, script)?;
        // By another process: no child that this one forks has the copy open for writing.
        let mut install = std::process::Command::new("install");
        let copied = install.arg(&written).arg(directory.join(name)).status()?;
        ensure!(copied.success(), "{name} cannot be installed");
    }
    Ok(directory.to_owned())
}

/// Sets the offset of the clock of Postgres. A rename, because every call of the clock reads the file.
fn set_clock(file: &Path, offset: &str) -> Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{offset}\n"))?;
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o644))?;
    Ok(std::fs::rename(new, file)?)
}

/// Returns the time that the clock of Postgres shows.
async fn clock(system: &System) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(&system.admin).await?)
}

#[tokio::test]
async fn postgres_a_day_ahead_for_some_seconds_delays_nothing() -> Result<()> {
    let folder = devservers::testing::directory("leaping")?;
    let file = folder.join("offset");
    set_clock(&file, "+0")?;
    let binaries = Some(leaping_programs(&folder.join("bin"), &file)?);
    let options = postgres::Options { durable: false, binaries, ..postgres::Options::default() };
    let postgres = Postgres::start(&folder.join("postgres"), options).await?;
    let system = System::start_on(postgres).await?;
    let mut process = system.serve(&[]).await?;
    ready(&system).await?;
    done(&system).await?;

    let hour = Utc::now() + TimeDelta::hours(1);
    set_clock(&file, "+1d")?;
    eventually("Postgres is a day ahead", async || Ok(clock(&system).await? > hour)).await?;
    done(&system).await?;
    process.logs("clock of Postgres leapt forward, not followed yet").await?;
    set_clock(&file, "+0")?;
    eventually("Postgres is not ahead", async || Ok(clock(&system).await? < hour)).await?;
    done(&system).await?;
    eventually("the correction has ended", async || {
        let health: Value = system.get("/readyz").send().await?.json().await?;
        Ok(health["clock"]["correction_seconds"].as_f64().is_some_and(|it| it.abs() < 1.0))
    })
    .await?;
    done(&system).await?;
    let ahead: i64 = sqlx::query_scalar("select count(*) from log.event where recorded_at > $1")
        .bind(hour)
        .fetch_one(&system.admin)
        .await?;
    assert_eq!(ahead, 0, "no event was recorded a day ahead");

    // A log that already is a day ahead, as a start within the leap would leave it.
    sqlx::query("update log.head set recorded_at = recorded_at + interval '1 day'")
        .execute(&system.admin)
        .await?;
    process.logs("recorded times differ from Postgres's clock").await?;
    done(&system).await?;
    let lag = system.run(&["lag", "--json"]).await?;
    let statuses: Vec<Value> = serde_json::from_str(&lag)?;
    let shown = statuses[0]["clock_ahead_seconds"].as_f64();
    ensure!(shown.is_some_and(|shown| shown > 80_000.0), "{lag}");
    Ok(())
}
