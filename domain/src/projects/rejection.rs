//! Rejections of commands on projects and tasks. Both share one enum, because a command on a task can
//! be refused by its project.

use super::MAX_MEMBERS;
use super::status::Status;
use eventsourcing::rejection::{Kind, Reject};

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The project does not exist, or is not visible to the user.
    #[error("the project does not exist")]
    ProjectNotFound,
    /// The task does not exist, or is not visible to the user.
    #[error("the task does not exist")]
    TaskNotFound,
    /// A project with this id exists already.
    #[error("the project was created already")]
    ProjectAlreadyCreated,
    /// A task with this id exists already.
    #[error("the task was created already")]
    TaskAlreadyCreated,
    /// The user is neither the owner nor an administrator.
    #[error("only the owner of the project may do this")]
    NotTheOwner,
    /// The user is neither a member nor an administrator.
    #[error("only members of the project may do this")]
    NotAMember,
    /// The project is archived.
    #[error("the project is archived and read-only")]
    ProjectArchived,
    /// The owner cannot be removed from the members.
    #[error("the owner of a project is always a member of it")]
    OwnerStays,
    /// The project has [`MAX_MEMBERS`] members.
    #[error("a project has at most {MAX_MEMBERS} members")]
    TooManyMembers,
    /// The user who is to become a member is not registered.
    #[error("there is no registered user with this id")]
    UserNotFound,
    /// Tasks are assigned to members only.
    #[error("the assignee is not a member of the project")]
    AssigneeNotAMember,
    /// The transition between the two statuses is not allowed.
    #[error("the status of a task cannot change from {from} to {to}")]
    StatusMoveRefused {
        /// Current status.
        from: Status,
        /// Requested status.
        to: Status,
    },
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::ProjectNotFound | Self::TaskNotFound | Self::UserNotFound => Kind::NotFound,
            Self::NotTheOwner | Self::NotAMember => Kind::Forbidden,
            Self::AssigneeNotAMember => Kind::Invalid,
            Self::ProjectAlreadyCreated
            | Self::TaskAlreadyCreated
            | Self::ProjectArchived
            | Self::OwnerStays
            | Self::TooManyMembers
            | Self::StatusMoveRefused { .. } => Kind::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ProjectNotFound => "project_not_found",
            Self::TaskNotFound => "task_not_found",
            Self::ProjectAlreadyCreated => "project_already_created",
            Self::TaskAlreadyCreated => "task_already_created",
            Self::NotTheOwner => "not_the_owner",
            Self::NotAMember => "not_a_member",
            Self::ProjectArchived => "project_archived",
            Self::OwnerStays => "owner_stays",
            Self::TooManyMembers => "too_many_members",
            Self::UserNotFound => "user_not_found",
            Self::AssigneeNotAMember => "assignee_not_a_member",
            Self::StatusMoveRefused { .. } => "status_move_refused",
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::AssigneeNotAMember => Some("/assignee_id".into()),
            Self::StatusMoveRefused { .. } => Some("/status".into()),
            Self::ProjectNotFound
            | Self::TaskNotFound
            | Self::ProjectAlreadyCreated
            | Self::TaskAlreadyCreated
            | Self::NotTheOwner
            | Self::NotAMember
            | Self::ProjectArchived
            | Self::OwnerStays
            | Self::TooManyMembers
            | Self::UserNotFound => None,
        }
    }
}
