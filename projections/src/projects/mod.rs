//! Projects and tasks, limited to those the viewer may see.

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

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub struct Changes {
    projects: project::Changes,
    tasks: task::Changes,
}

/// Limits projects, and tasks by their project, to those the caller may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// Sees every project.
    All,
    /// Sees projects this user owns or is a member of.
    User(Uuid),
}

impl Viewer {
    /// The parameter of the queries: null means every project.
    fn user(self) -> Option<Uuid> {
        match self {
            Self::All => None,
            Self::User(id) => Some(id),
        }
    }
}

impl Projection for Projects {
    const NAME: &'static str = "projects";
    /// 2 changed indexes.
    const VERSION: i32 = 2;
    const CATEGORIES: &'static [&'static str] = &[Project::CATEGORY, Task::CATEGORY];
    const DDL: &'static str = include_str!("schema.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, recorded: Recorded<Event>) {
        // Keys of these categories are ids: the deciders' streams are named that way only.
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

#[cfg(test)]
mod tests {
    use domain::projects::task::Event as TaskEvent;
    use domain::projects::{Change, Status};

    use super::project::{Row, Update};
    use super::*;
    use crate::by_name::ByName;
    use crate::testing::{at, fold};

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn the_last_change_of_a_member_counts() {
        use domain::projects::project::Event::{
            MemberAdded, MemberRemoved, ProjectArchived, ProjectChanged, ProjectCreated,
        };
        let (name, description) = ("Move".to_owned(), Some("House".to_owned()));
        let changed = Change::To(None);
        let changes = fold::<Projects>(
            [
                ProjectCreated { name, description, owner_id: id(2) },
                MemberAdded { user_id: id(3) },
                MemberAdded { user_id: id(4) },
                MemberRemoved { user_id: id(3) },
                ProjectChanged { name: Some("Move out".into()), description: changed.clone() },
                ProjectArchived {},
            ]
            .map(|event| (domain::projects::project::stream(id(1)), Event::Project(event))),
        );
        let Changes { projects, .. } = changes;
        let row = Row::created(id(1), "Move", Some("House"), id(2), at(1));
        assert_eq!(projects.created, [row]);
        assert_eq!(projects.members, [((id(1), id(3)), false), ((id(1), id(4)), true)].into());
        let expected = Update {
            name: Some("Move out".into()),
            description: changed,
            archived: true,
            at: at(6),
            version: 6,
        };
        assert_eq!(projects.updates, [(id(1), expected)].into());
    }

    #[test]
    fn a_deleted_task_is_deleted_after_its_changes() {
        let (project_id, title) = (id(2), "Pack".to_owned());
        let (from, to) = (Status::ToDo, Status::InProgress);
        let changes = fold::<Projects>(
            [
                TaskEvent::TaskCreated {
                    project_id,
                    title,
                    description: None,
                    assignee_id: None,
                    due_at: Some(at(99)),
                },
                TaskEvent::TaskAssigned { assignee_id: Some(id(3)) },
                TaskEvent::TaskStatusChanged { from, to },
                TaskEvent::TaskDeleted {},
            ]
            .map(|event| (domain::projects::task::stream(id(1)), Event::Task(event))),
        );
        let Changes { tasks, .. } = changes;
        assert_eq!(
            (tasks.created[0].status, tasks.created[0].due_at),
            (ByName(from), Some(at(99)))
        );
        let update = &tasks.updates[&id(1)];
        assert_eq!(update.assignee_id, Change::To(Some(id(3))));
        assert_eq!((update.status, update.version), (Some(to), 4));
        assert_eq!(tasks.deleted, [id(1)].into());
    }
}
