//! Projects and tasks as they are asked for: by id, newest first, and each caller only what is the
//! caller's to see.

pub mod project;
pub mod task;

use domain::projects::{Event, Project, Task};
use eventsourcing::{Decider, Recorded};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::projection::Projection;

/// The read model of projects and tasks.
#[derive(Debug)]
pub struct Projects;

/// What a batch of events comes to.
#[derive(Debug, Default)]
pub struct Changes {
    projects: project::Changes,
    tasks: task::Changes,
}

/// Whose projects, and tasks of whose projects, are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// One who sees everybody's.
    All,
    /// Those this user owns or is a member of.
    User(Uuid),
}

impl Viewer {
    /// Null for one who sees all.
    fn user(self) -> Option<Uuid> {
        match self {
            Self::All => None,
            Self::User(id) => Some(id),
        }
    }
}

impl Projection for Projects {
    const NAME: &'static str = "projects";
    const CATEGORIES: &'static [&'static str] = &[Project::CATEGORY, Task::CATEGORY];
    const DDL: &'static str = include_str!("schema.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, recorded: Recorded<Event>) {
        // The store gives these streams no other keys.
        let Ok(id) = Uuid::parse_str(recorded.stream.key()) else {
            return;
        };
        let (at, version) = (recorded.recorded_at, recorded.version.0);
        match &recorded.event {
            Event::Project(event) => changes.projects.apply(id, event, at, version),
            Event::Task(event) => changes.tasks.apply(id, event, at, version),
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        changes.projects.write(connection).await?;
        changes.tasks.write(connection).await
    }
}
