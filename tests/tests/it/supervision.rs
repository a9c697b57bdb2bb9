//! A panic in any task is logged and counted; it ends the process, or is retried where the work can be
//! done again. Panics are injected into debug builds, once each.

use anyhow::Result;
use serde_json::json;
use tests::{Process, System, eventually};

/// Starts all roles with a panic injected at this point.
async fn start(system: &System, at: &str) -> Result<Process> {
    system.serve_with(&[], &[("TRIBUTARY_INJECT_PANIC", at)]).await
}

/// The end of a process whose task has panicked.
async fn ends(mut process: Process, task: &str) -> Result<()> {
    let message = format!("error: task {task} panicked: injected at");
    process.logs(&message).await?;
    assert_eq!(process.exit_code().await?, Some(1), "{task}");
    Ok(())
}

#[tokio::test]
async fn a_panic_of_the_appender_ends_the_process() -> Result<()> {
    let system = System::start().await?;
    let process = start(&system, "appender").await?;
    let answer = system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?;
    assert_eq!(answer.status(), 503, "the append in progress is answered");
    ends(process, "appender").await
}

#[tokio::test]
async fn a_panic_of_a_task_or_role_ends_the_process() -> Result<()> {
    let system = System::start().await?;
    for task in [
        "feed",
        "head watch",
        "head announcer",
        "relay",
        "receipt deletion",
        "checkpoint poll",
        "works",
        "role http",
        "role mqtt",
        "role relay",
        "role projector",
        "role worker",
    ] {
        let environment = [
            system.environment.clone(),
            vec![("TRIBUTARY_INJECT_PANIC".to_owned(), format!("task {task}"))],
        ];
        ends(Process::start(&["serve"], &environment.concat())?, task).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_panic_of_a_consumer_is_retried_and_counted() -> Result<()> {
    let system = System::start().await?;
    for consumer in ["works", "fulfilment", "alert_watch"] {
        let process = start(&system, &format!("consumer {consumer}")).await?;
        let answer = system.post("/api/v1/works", &json!({"add_up_to": 1})).send().await?;
        assert_eq!(answer.status(), 202);
        eventually("the panic is counted", async || {
            let metrics = system.get("/metrics").send().await?.text().await?;
            let restarted = |line: &str| {
                line.starts_with("tributary_consumer_restarts_total{")
                    && line.contains(&format!("consumer=\"{consumer}\""))
                    && line.contains("cause=\"panic\"")
            };
            Ok(metrics.lines().any(restarted))
        })
        .await?;
        system.caught_up().await?;
        assert_eq!(process.terminate().await?, Some(0), "the process has survived");
    }
    Ok(())
}
