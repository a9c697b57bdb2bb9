//! Client commands of the executable.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{System, eventually};

#[tokio::test]
async fn lag_shows_every_consumer() -> Result<()> {
    let system = System::start().await?;
    let lag: Value = serde_json::from_str(&system.run(&["lag", "--json"]).await?)?;
    // The alert publisher and the relay are consumers, too.
    let consumers = projections::names().len() + commands::PROCESS_MANAGERS.len() + 2;
    assert_eq!(lag.as_array().or(lag["items"].as_array()).map(Vec::len), Some(consumers));
    assert!(lag.to_string().contains("never_run"), "{lag}");
    let _process = system.serve(&[]).await?;
    system.post("/api/v1/works", &json!({})).send().await?.error_for_status()?;
    system.caught_up().await?;
    eventually("all of them live", async || {
        let lag = system.run(&["lag", "--json"]).await?;
        Ok(lag.contains("live") && !lag.contains("never_run"))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn works_are_demanded_and_shown() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let work: Value = serde_json::from_str(
        &system.run(&["works", "create", "--add-up-to", "4", "--json"]).await?,
    )?;
    let id = work["id"].as_str().unwrap_or_default();
    let shown: Value = serde_json::from_str(&system.run(&["works", "show", id, "--json"]).await?)?;
    assert_eq!(shown["add_up_to"], 4);
    let small = ["--add-up-to", "9"]; // A random one may take longer than the time limit.
    let produce = ["works", "produce", "--every", "10ms", "--count", "3"];
    system.run(&[&produce[..], &small].concat()).await?;
    eventually("all four are done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == 4)
    })
    .await?;
    let list = system.run(&["works", "list"]).await?;
    assert!(list.contains("consumer-") && list.contains("api-"), "{list}");
    Ok(())
}

#[tokio::test]
async fn the_configuration_is_printed_without_its_secrets() -> Result<()> {
    let system = System::start().await?;
    let config = system.run(&["config"]).await?;
    assert!(config.contains("NATS_URL") || config.contains("nats"), "{config}");
    assert!(!config.contains(&system.token), "the token is a secret");
    Ok(())
}

#[tokio::test]
async fn migrating_twice_changes_nothing() -> Result<()> {
    let system = System::start().await?;
    system.run(&["migrate"]).await?;
    Ok(())
}

#[tokio::test]
async fn the_application_cannot_change_history() -> Result<()> {
    let system = System::start().await?;
    let url = system.environment.iter().find(|(name, _)| name == "DATABASE_URL");
    let pool = sqlx::PgPool::connect(&url.expect("it is set").1).await?;
    for sql in ["update log.event set data = '{}'", "delete from log.event", "truncate log.event"] {
        let error = sqlx::query(sql).execute(&pool).await.expect_err("the role may not");
        assert!(error.to_string().contains("permission denied"), "{sql}: {error}");
    }
    Ok(())
}
