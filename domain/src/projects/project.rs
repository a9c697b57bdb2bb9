//! A project: its owner, its members, and who of all people may do what with it.
//!
//! | | owner, administrator | member | operator | anybody else |
//! |---|---|---|---|---|
//! | read it and its tasks | yes | yes | yes | not found |
//! | work on its tasks | yes | yes | forbidden | not found |
//! | change or archive it, add and remove members | yes | forbidden | forbidden | not found |
//!
//! Once archived it can only be read. A member who is removed stays the assignee of the tasks that
//! were assigned before: they are still to be done, and it is for the others to assign them anew.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Change, Description, Name, Rejection};
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

/// Most members of a project besides its owner.
pub const MAX_MEMBERS: usize = 1_000;

/// The stream of one project.
pub fn stream(id: Uuid) -> StreamId {
    StreamId::new(Project::CATEGORY, id)
}

/// What happened to a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Whoever creates it owns it.
    ProjectCreated { name: String, description: Option<String>, owner_id: Uuid },
    /// Holds what is different now, and nothing else.
    ProjectChanged {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Change::is_same")]
        description: Change<String>,
    },
    /// It can only be read from now on.
    ProjectArchived {},
    /// This user may read the project and work on its tasks.
    MemberAdded { user_id: Uuid },
    /// This user may no longer. Tasks keep the assignee they have.
    MemberRemoved { user_id: Uuid },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// What somebody wants of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub by: Actor,
    pub act: Act,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Create { name: Name, description: Option<Description> },
    Change { name: Option<Name>, description: Change<Description> },
    Archive,
    AddMember(Uuid),
    RemoveMember(Uuid),
}

/// A project as its history leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Project {
    #[default]
    Uncreated,
    Active(Details),
    Archived(Details),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Details {
    name: String,
    description: Option<String>,
    owner_id: Uuid,
    /// The owner is not among them, and counts as one.
    members: BTreeSet<Uuid>,
}

/// What a project lets somebody do with its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It does not exist, as far as this one is concerned.
    Hidden,
    /// As one who runs the system.
    Read,
    /// It is archived, for members too.
    Archived,
    Work,
}

impl Details {
    fn includes(&self, user: Uuid) -> bool {
        self.owner_id == user || self.members.contains(&user)
    }

    fn is_visible_to(&self, actor: Actor) -> bool {
        actor.sees_all() || self.includes(actor.id)
    }

    /// Refuses whoever is not the owner, or acts as one.
    fn check_owner(&self, actor: Actor) -> Result<(), Rejection> {
        match (self.is_visible_to(actor), actor.may_act_for(self.owner_id)) {
            (false, _) => Err(Rejection::ProjectNotFound),
            (true, false) => Err(Rejection::NotTheOwner),
            (true, true) => Ok(()),
        }
    }
}

impl Project {
    /// Whether tasks may be assigned to this user.
    pub fn includes(&self, user: Uuid) -> bool {
        self.details().is_some_and(|details| details.includes(user))
    }

    /// What `actor` may do with the tasks.
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
