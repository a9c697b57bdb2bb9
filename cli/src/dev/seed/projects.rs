//! A project with two members and a few tasks.

use chrono::{TimeDelta, Utc};
use commands::projects::Projects;
use domain::projects::project::{Act, Command};
use domain::projects::task::{self, New};
use domain::projects::{Description, Name};
use uuid::Uuid;

use super::super::people::People;
use super::unless_refused;

const fn id(number: u128) -> Uuid {
    const FIRST: u128 = 0x0190_0000_0000_7000_8000_0000_0002_0000;
    Uuid::from_u128(FIRST + number)
}

/// Id of the project, the same in every run.
const PROJECT: Uuid = id(0);

/// Ids of the tasks, the same in every run, and their titles.
pub(in super::super) const TASKS: [(Uuid, &str); 6] = [
    (id(1), "Repair the fan of the roof"),
    (id(2), "Order seeds for spring"),
    (id(3), "Label the seedlings"),
    (id(4), "Calibrate the humidity sensor"),
    (id(5), "Clean the windows"),
    (id(6), "Plan the irrigation"),
];

/// Creates what is missing of the project.
pub(super) async fn create(projects: &Projects, people: People) -> anyhow::Result<()> {
    let People { ada, grace, .. } = people;
    let description = "Everything that grows, and what measures it";
    let create = Act::Create {
        name: Name::try_from("Greenhouse".to_owned())?,
        description: Some(Description::try_from(description.to_owned())?),
    };
    let command = Command { by: ada.actor(), act: create };
    unless_refused(projects.create(PROJECT, command, ada.envelope()).await)?;
    let add = Command { by: ada.actor(), act: Act::AddMember(grace.id) };
    unless_refused(projects.execute(PROJECT, add, ada.envelope()).await)?;
    for (days, (id, title)) in (1..).zip(TASKS) {
        let assignee = if days % 2 == 0 { ada } else { grace };
        let new = New {
            project_id: PROJECT,
            title: Name::try_from(title.to_owned())?,
            description: None,
            assignee_id: Some(assignee.id),
            due_at: Some(Utc::now() + TimeDelta::days(days)),
        };
        let create = task::Act::Create(new);
        let created = projects.execute_task(id, ada.actor(), create, ada.envelope()).await;
        unless_refused(created)?;
    }
    Ok(())
}
