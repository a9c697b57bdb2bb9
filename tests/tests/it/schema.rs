//! `docs/schema.sql` is the schema of a freshly migrated database, read models included.

use std::path::Path;

use anyhow::{Result, ensure};
use devservers::testing::shared_postgres;
use tests::System;
use tokio::process::Command;

const FILE: &str = "docs/schema.sql";
const UPDATE: &str = "TRIBUTARY_UPDATE=1 cargo test --workspace --test it schema:: rewrites it";

#[tokio::test]
async fn the_schema_is_the_documented_one() -> Result<()> {
    let postgres = shared_postgres().await?;
    if postgres.has_timescale() {
        println!("TimescaleDB is installed: the schema has hypertables and is not compared");
        return Ok(());
    }
    let system = System::start().await?;
    let database = system.admin.connect_options();
    let database = database.get_database().unwrap_or_default();
    let dump = Command::new(postgres.program("pg_dump"))
        .args(["--schema-only", "--no-owner", "--dbname", &postgres.url(database, "postgres")])
        .output()
        .await?;
    ensure!(dump.status.success(), "pg_dump: {}", String::from_utf8_lossy(&dump.stderr));
    let schema = normalised(&String::from_utf8(dump.stdout)?);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE);
    if std::env::var_os("TRIBUTARY_UPDATE").is_some() {
        std::fs::write(&path, schema)?;
        return Ok(());
    }
    let documented = std::fs::read_to_string(&path)?;
    let lines = documented.lines().zip(schema.lines()).enumerate();
    let mut differing = lines.filter(|(_, (documented, actual))| documented != actual);
    if let Some((index, (documented, actual))) = differing.next() {
        let line = index + 1;
        anyhow::bail!("{FILE}:{line} is\n{documented}\nbut the schema has\n{actual}\n{UPDATE}");
    }
    ensure!(documented == schema, "{FILE} and the schema differ in length; {UPDATE}");
    Ok(())
}

/// Removes what depends on the version of Postgres: comments, settings of the session, the keys of
/// restricted mode and the names of some constraints.
fn normalised(dump: &str) -> String {
    let noise = ["--", "SET ", "SELECT pg_catalog.set_config", "\\restrict", "\\unrestrict"];
    let lines = dump.lines().filter(|line| !noise.iter().any(|noise| line.starts_with(noise)));
    let mut schema = format!("-- The schema after `tributary migrate`.\n-- {UPDATE}.\n");
    let mut blank = false;
    for line in lines {
        if line.is_empty() {
            blank = true;
            continue;
        }
        if std::mem::take(&mut blank) {
            schema.push('\n');
        }
        schema.push_str(&without_name(line));
        schema.push('\n');
    }
    schema
}

/// Removes the name of a NOT NULL constraint, which Postgres 18 prints for columns of partitions.
fn without_name(line: &str) -> String {
    match (line.find(" CONSTRAINT "), line.find(" NOT NULL")) {
        (Some(from), Some(to)) if from < to => [&line[..from], &line[to..]].concat(),
        _ => line.to_owned(),
    }
}
