//! A task: something to be done in a project, by somebody, until some time.
//!
//! ```text
//! ToDo ──► InProgress ──► Done
//!   ▲        │    ▲        │
//!   └────────┘    └────────┘
//! ```
//! Nothing is done that nobody worked on: a task does not go from `ToDo` to `Done`, nor back.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::project::{Access, Project};
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

/// The stream of one task.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(Task::CATEGORY, id)
}

/// How far a task is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")] // As an enum, a `null` would be a mistake in the JSON itself.
pub enum Status {
    #[default]
    ToDo,
    InProgress,
    Done,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ToDo, Self::InProgress, Self::Done];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToDo => "ToDo",
            Self::InProgress => "InProgress",
            Self::Done => "Done",
        }
    }

    fn moves_to(self, to: Self) -> bool {
        match self {
            Self::ToDo | Self::Done => to == Self::InProgress,
            Self::InProgress => to != Self::InProgress,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

impl TryFrom<String> for Status {
    type Error = UnknownStatus;

    fn try_from(text: String) -> Result<Self, UnknownStatus> {
        text.parse()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status is ToDo, InProgress or Done")]
pub struct UnknownStatus;

/// What happened to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// It is to be done.
    TaskCreated {
        project_id: Uuid,
        title: String,
        description: Option<String>,
        assignee_id: Option<Uuid>,
        due_at: Option<DateTime<Utc>>,
    },
    /// Holds what is different now, and nothing else.
    TaskChanged {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        #[serde(default, skip_serializing_if = "Change::is_same")]
        description: Change<String>,
        #[serde(default, skip_serializing_if = "Change::is_same")]
        due_at: Change<DateTime<Utc>>,
    },
    /// It is this member's now, or nobody's. Who was a member then may be none later.
    TaskAssigned {
        assignee_id: Option<Uuid>,
    },
    TaskStatusChanged {
        from: Status,
        to: Status,
    },
    TaskDeleted {},
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// What somebody wants of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub by: Actor,
    /// Its project, as it stands.
    pub within: Arc<Project>,
    pub act: Act,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Create(New),
    Change(Changes),
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    pub project_id: Uuid,
    pub title: Name,
    pub description: Option<Description>,
    pub assignee_id: Option<Uuid>,
    pub due_at: Option<DateTime<Utc>>,
}

/// All of it happens, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub title: Option<Name>,
    pub description: Change<Description>,
    pub assignee_id: Change<Uuid>,
    pub status: Option<Status>,
    pub due_at: Change<DateTime<Utc>>,
}

/// A task as its history leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    #[default]
    Uncreated,
    Open(Details),
    Deleted {
        project_id: Uuid,
    },
}

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
    /// The project it belongs, or belonged, to.
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
