//! A project: its owner, its members, and the permissions on it.
//!
//! | | owner, administrator | member | operator | other users |
//! |---|---|---|---|---|
//! | read it and its tasks | yes | yes | yes | not found |
//! | work on its tasks | yes | yes | forbidden | not found |
//! | change or archive it, add and remove members | yes | forbidden | forbidden | not found |
//!
//! An archived project is read-only. A removed member stays the assignee of tasks assigned earlier,
//! until another member reassigns them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Change, Description, MAX_MEMBERS, Name, Rejection};
use crate::{Actor, Role};
use eventsourcing::StreamId;
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};

pub(super) const TYPES: &[(&str, i16)] = &[
    ("project_created", 1),
    ("project_changed", 1),
    ("project_archived", 1),
    ("member_added", 1),
    ("member_removed", 1),
];

/// Returns the stream of a project.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(Project::CATEGORY, id)
}

/// Events of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A user created the project and owns it.
    ProjectCreated {
        /// Name of the project.
        name: String,
        /// Description of the project; `None` if it has none.
        description: Option<String>,
        /// Id of the user who created it.
        owner_id: Uuid,
    },
    /// Name or description changed. The event holds only what changed.
    ProjectChanged {
        /// New name; `None` if unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// New description.
        #[serde(default, skip_serializing_if = "Change::is_same")]
        description: Change<String>,
    },
    /// The project was archived and is read-only.
    ProjectArchived {},
    /// A user became a member: may read the project and work on its tasks.
    MemberAdded {
        /// Id of the new member.
        user_id: Uuid,
    },
    /// A user is no longer a member. Tasks keep their assignees.
    MemberRemoved {
        /// Id of the former member.
        user_id: Uuid,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// A command on a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// User who sends the command.
    pub by: Actor,
    /// What to do.
    pub act: Act,
}

/// The action of a command on a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Creates the project; the sender owns it.
    Create {
        /// Name of the project.
        name: Name,
        /// Description of the project; `None` for none.
        description: Option<Description>,
    },
    /// Changes name or description.
    Change {
        /// New name; `None` leaves it unchanged.
        name: Option<Name>,
        /// New description.
        description: Change<Description>,
    },
    /// Archives the project.
    Archive,
    /// Adds the user with this id as a member.
    AddMember(Uuid),
    /// Removes the member with this id.
    RemoveMember(Uuid),
}

/// The state of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Project {
    /// The project does not exist yet.
    #[default]
    Uncreated,
    /// The project can be changed.
    Active(Details),
    /// The project is read-only.
    Archived(Details),
}

/// The data of an existing project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Details {
    name: String,
    description: Option<String>,
    owner_id: Uuid,
    /// Ids of the members. The owner is a member without being listed.
    members: BTreeSet<Uuid>,
}

/// The access of a user to the tasks of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The project is not visible to the user.
    Hidden,
    /// Read-only: the user is an operator, not a member.
    Read,
    /// Read-only: the project is archived.
    Archived,
    /// Read and write.
    Work,
}

impl Details {
    fn includes(&self, user: Uuid) -> bool {
        self.owner_id == user || self.members.contains(&user)
    }

    fn is_visible_to(&self, actor: Actor) -> bool {
        actor.sees_all() || self.includes(actor.id)
    }

    /// Returns an error unless the actor is the owner or an administrator.
    fn check_owner(&self, actor: Actor) -> Result<(), Rejection> {
        match (self.is_visible_to(actor), actor.may_act_for(self.owner_id)) {
            (false, _) => Err(Rejection::ProjectNotFound),
            (true, false) => Err(Rejection::NotTheOwner),
            (true, true) => Ok(()),
        }
    }
}

impl Project {
    /// Returns whether the user is the owner or a member, to whom tasks may be assigned.
    pub fn includes(&self, user: Uuid) -> bool {
        self.details().is_some_and(|details| details.includes(user))
    }

    /// Returns the access of `actor` to the project's tasks.
    pub fn access(&self, actor: Actor) -> Access {
        let Some(details) = self.details().filter(|details| details.is_visible_to(actor)) else {
            return Access::Hidden;
        };
        match (self, details.includes(actor.id) || actor.role == Role::Admin) {
            (_, false) => Access::Read,
            (Self::Archived(_), true) => Access::Archived,
            (Self::Active(_) | Self::Uncreated, true) => Access::Work,
        }
    }

    fn details(&self) -> Option<&Details> {
        match self {
            Self::Uncreated => None,
            Self::Active(details) | Self::Archived(details) => Some(details),
        }
    }
}

impl Decider for Project {
    const CATEGORY: &'static str = "project";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, Command { by, act }: Command) -> Decision<Self> {
        if let Some(details) = self.details() {
            details.check_owner(by)?;
        }
        match (act, self) {
            (Act::Create { name, description }, Self::Uncreated) => accept(Event::ProjectCreated {
                name: name.into(),
                description: description.map(Into::into),
                owner_id: by.id,
            }),
            (Act::Create { .. }, Self::Active(_) | Self::Archived(_)) => {
                reject(Rejection::ProjectAlreadyCreated)
            }
            (
                Act::Change { .. } | Act::Archive | Act::AddMember(_) | Act::RemoveMember(_),
                Self::Uncreated,
            ) => reject(Rejection::ProjectNotFound),

            (Act::Change { name, description }, Self::Active(details)) => {
                let name = name.map(String::from).filter(|name| *name != details.name);
                let description = description.map(String::from).against(&details.description);
                if name.is_none() && description.is_same() {
                    return nothing();
                }
                accept(Event::ProjectChanged { name, description })
            }
            (Act::AddMember(user_id), Self::Active(details)) => {
                if details.includes(user_id) {
                    return nothing();
                }
                if details.members.len() >= MAX_MEMBERS {
                    return reject(Rejection::TooManyMembers);
                }
                accept(Event::MemberAdded { user_id })
            }
            (Act::RemoveMember(user_id), Self::Active(details)) => {
                if user_id == details.owner_id {
                    return reject(Rejection::OwnerStays);
                }
                if !details.members.contains(&user_id) {
                    return nothing();
                }
                accept(Event::MemberRemoved { user_id })
            }
            (Act::Archive, Self::Active(_)) => accept(Event::ProjectArchived {}),
            (Act::Archive, Self::Archived(_)) => nothing(),
            (Act::Change { .. } | Act::AddMember(_) | Act::RemoveMember(_), Self::Archived(_)) => {
                reject(Rejection::ProjectArchived)
            }
        }
    }

    fn evolve(self, event: &Event) -> Self {
        let mut details = match (self, event) {
            (_, Event::ProjectCreated { name, description, owner_id }) => {
                return Self::Active(Details {
                    name: name.clone(),
                    description: description.clone(),
                    owner_id: *owner_id,
                    members: BTreeSet::new(),
                });
            }
            (Self::Active(details), _) => details,
            (state @ (Self::Uncreated | Self::Archived(_)), _) => return state,
        };
        match event {
            Event::ProjectCreated { .. } => {}
            Event::ProjectChanged { name, description } => {
                if let Some(name) = name {
                    details.name.clone_from(name);
                }
                description.apply(&mut details.description);
            }
            Event::ProjectArchived {} => return Self::Archived(details),
            Event::MemberAdded { user_id } => {
                details.members.insert(*user_id);
            }
            Event::MemberRemoved { user_id } => {
                details.members.remove(user_id);
            }
        }
        Self::Active(details)
    }
}
