//! Tasks of the demo's project move on, and a finished one is reopened for the other member.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::super::seed::TASKS;
use super::Demo;

/// Time between two moves.
const MOVE_EVERY: Duration = Duration::from_secs(15);

pub(super) async fn run(demo: &Demo) {
    let mut pace = demo.pace("tasks", MOVE_EVERY);
    for number in 0_usize.. {
        pace.next().await;
        pace.note(advance(demo, number).await);
    }
}

async fn advance(demo: &Demo, number: usize) -> anyhow::Result<()> {
    // Two moves of one task, then the next.
    let (id, _) = TASKS[number / 2 % TASKS.len()];
    let path = format!("/api/v1/tasks/{id}");
    let api = demo.api(demo.people.ada)?;
    let task: Value = api.get(&path).send().await.context("cannot show a task")?.body;
    let change = match task["status"].as_str() {
        Some("InProgress") => json!({"status": "Done"}),
        Some("Done") => {
            let [ada, grace] = [demo.people.ada, demo.people.grace].map(|person| person.id);
            let other = if task["assignee_id"] == json!(ada) { grace } else { ada };
            json!({"status": "InProgress", "assignee_id": other})
        }
        _ => json!({"status": "InProgress"}),
    };
    api.patch(&path).json(&change).once().send::<Value>().await.context("cannot move a task")?;
    Ok(())
}
