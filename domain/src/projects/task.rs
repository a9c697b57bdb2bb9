//! A task of a project, with a status, an optional assignee and an optional due date.
//!
//! ```text
//! ToDo ──► InProgress ──► Done
//!   ▲        │    ▲        │
//!   └────────┘    └────────┘
//! ```
//! A task cannot go from `ToDo` to `Done` directly, nor back.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::project::{Access, Project};
use super::status::Status;
use super::{Change, Description, Name, Rejection};
use crate::Actor;
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};

pub(super) const TYPES: &[(&str, i16)] = &[
    ("task_created", 1),
    ("task_changed", 1),
    ("task_assigned", 1),
    ("task_status_changed", 1),
    ("task_deleted", 1),
];

/// Returns the stream of a task.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(Task::CATEGORY, id)
}

/// Events of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A task was created with the status `ToDo`.
    TaskCreated {
        /// Id of the project it belongs to.
        project_id: Uuid,
        /// Title of the task.
        title: String,
        /// Description of the task; `None` if it has none.
        description: Option<String>,
        /// Id of the assignee; `None` if unassigned.
        assignee_id: Option<Uuid>,
        /// Due date; `None` if it has none.
        due_at: Option<DateTime<Utc>>,
    },
    /// Title, description or due date changed. The event holds only what changed.
    TaskChanged {
        /// New title; `None` if unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// New description.
        #[serde(default, skip_serializing_if = "Change::is_same")]
        description: Change<String>,
        /// New due date.
        #[serde(default, skip_serializing_if = "Change::is_same")]
        due_at: Change<DateTime<Utc>>,
    },
    /// The task was assigned to a member, or unassigned. The assignee may leave the project later.
    TaskAssigned {
        /// Id of the assignee; `None` if unassigned.
        assignee_id: Option<Uuid>,
    },
    /// The status changed.
    TaskStatusChanged {
        /// Previous status.
        from: Status,
        /// New status.
        to: Status,
    },
    /// The task was deleted.
    TaskDeleted {},
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// A command on a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// User who sends the command.
    pub by: Actor,
    /// Current state of the task's project.
    pub within: Arc<Project>,
    /// What to do.
    pub act: Act,
}

/// The action of a command on a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Creates the task.
    Create(New),
    /// Changes the task.
    Change(Changes),
    /// Deletes the task.
    Delete,
}

/// The data of a new task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Id of the project it belongs to.
    pub project_id: Uuid,
    /// Title of the task.
    pub title: Name,
    /// Description of the task; `None` for none.
    pub description: Option<Description>,
    /// Id of the assignee, a member of the project; `None` for an unassigned task.
    pub assignee_id: Option<Uuid>,
    /// Due date; `None` for none.
    pub due_at: Option<DateTime<Utc>>,
}

/// Changes of a task. Either all of them are applied, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// New title; `None` leaves it unchanged.
    pub title: Option<Name>,
    /// New description.
    pub description: Change<Description>,
    /// New assignee, a member of the project.
    pub assignee_id: Change<Uuid>,
    /// New status; `None` leaves it unchanged.
    pub status: Option<Status>,
    /// New due date.
    pub due_at: Change<DateTime<Utc>>,
}

/// The state of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// The task does not exist yet.
    #[default]
    Uncreated,
    /// The task exists, with any status.
    Open(Details),
    /// The task was deleted.
    Deleted {
        /// Id of the project it belonged to.
        project_id: Uuid,
    },
}

/// The data of an existing task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Details {
    project_id: Uuid,
    title: String,
    description: Option<String>,
    assignee_id: Option<Uuid>,
    status: Status,
    due_at: Option<DateTime<Utc>>,
}

impl Task {
    /// Returns the id of the project the task belongs or belonged to, or `None` if the task never
    /// existed.
    pub fn project_id(&self) -> Option<Uuid> {
        match self {
            Self::Uncreated => None,
            Self::Open(Details { project_id, .. }) | Self::Deleted { project_id } => {
                Some(*project_id)
            }
        }
    }
}

impl Decider for Task {
    const CATEGORY: &'static str = "task";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, Command { by, within, act }: Command) -> Decision<Self> {
        match (within.access(by), &act) {
            (Access::Hidden, Act::Create(_)) => return reject(Rejection::ProjectNotFound),
            (Access::Hidden, Act::Change(_) | Act::Delete) => {
                return reject(Rejection::TaskNotFound);
            }
            (Access::Read, _) => return reject(Rejection::NotAMember),
            (Access::Archived, _) => return reject(Rejection::ProjectArchived),
            (Access::Work, _) => {}
        }
        match (act, self) {
            (Act::Create(new), Self::Uncreated) => {
                check_assignee(&within, new.assignee_id)?;
                accept(Event::TaskCreated {
                    project_id: new.project_id,
                    title: new.title.into(),
                    description: new.description.map(Into::into),
                    assignee_id: new.assignee_id,
                    due_at: new.due_at,
                })
            }
            (Act::Create(_), Self::Open(_) | Self::Deleted { .. }) => {
                reject(Rejection::TaskAlreadyCreated)
            }
            (Act::Change(changes), Self::Open(task)) => task.change(changes, &within),
            (Act::Delete, Self::Open(_)) => accept(Event::TaskDeleted {}),
            (Act::Delete, Self::Deleted { .. }) => nothing(),
            (Act::Change(_) | Act::Delete, Self::Uncreated)
            | (Act::Change(_), Self::Deleted { .. }) => reject(Rejection::TaskNotFound),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        let mut task = match (self, event) {
            (_, Event::TaskCreated { project_id, title, description, assignee_id, due_at }) => {
                return Self::Open(Details {
                    project_id: *project_id,
                    title: title.clone(),
                    description: description.clone(),
                    assignee_id: *assignee_id,
                    status: Status::ToDo,
                    due_at: *due_at,
                });
            }
            (Self::Open(task), _) => task,
            (state @ (Self::Uncreated | Self::Deleted { .. }), _) => return state,
        };
        match event {
            Event::TaskCreated { .. } => {}
            Event::TaskChanged { title, description, due_at } => {
                if let Some(title) = title {
                    task.title.clone_from(title);
                }
                description.apply(&mut task.description);
                due_at.apply(&mut task.due_at);
            }
            Event::TaskAssigned { assignee_id } => task.assignee_id = *assignee_id,
            Event::TaskStatusChanged { to, .. } => task.status = *to,
            Event::TaskDeleted {} => return Self::Deleted { project_id: task.project_id },
        }
        Self::Open(task)
    }
}

impl Details {
    fn change(&self, changes: Changes, within: &Project) -> Decision<Task> {
        let mut events = Vec::new();
        let title = changes.title.map(String::from).filter(|title| *title != self.title);
        let description = changes.description.map(String::from).against(&self.description);
        let due_at = changes.due_at.against(&self.due_at);
        if title.is_some() || !description.is_same() || !due_at.is_same() {
            events.push(Event::TaskChanged { title, description, due_at });
        }
        if let Change::To(assignee_id) = changes.assignee_id.against(&self.assignee_id) {
            check_assignee(within, assignee_id)?;
            events.push(Event::TaskAssigned { assignee_id });
        }
        if let Some(to) = changes.status.filter(|to| *to != self.status) {
            let from = self.status;
            if !from.moves_to(to) {
                return reject(Rejection::StatusMoveRefused { from, to });
            }
            events.push(Event::TaskStatusChanged { from, to });
        }
        Ok(events)
    }
}

fn check_assignee(within: &Project, assignee_id: Option<Uuid>) -> Result<(), Rejection> {
    if assignee_id.is_none_or(|user| within.includes(user)) {
        Ok(())
    } else {
        Err(Rejection::AssigneeNotAMember)
    }
}
