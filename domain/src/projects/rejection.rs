//! Why a command about a project or one of its tasks is refused. One set for both: a task is
//! refused in the words of its project.

use super::project::MAX_MEMBERS;
use super::task::Status;
use eventsourcing::rejection::{Kind, Reject};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Or there is, but not for this caller.
    #[error("there is no such project")]
    ProjectNotFound,
    #[error("there is no such task")]
    TaskNotFound,
    #[error("this project was created before")]
    ProjectAlreadyCreated,
    #[error("this task was created before")]
    TaskAlreadyCreated,
    #[error("only the owner of the project may do this")]
    NotTheOwner,
    #[error("only members of the project may do this")]
    NotAMember,
    #[error("the project is archived: it can be read, not changed")]
    ProjectArchived,
    #[error("the owner of a project is always a member of it")]
    OwnerStays,
    #[error("a project has at most {MAX_MEMBERS} members")]
    TooManyMembers,
    #[error("the assignee is not a member of the project")]
    AssigneeNotAMember,
    #[error("a task does not move from {from} to {to}")]
    StatusMoveRefused { from: Status, to: Status },
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::ProjectNotFound | Self::TaskNotFound => Kind::NotFound,
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
            | Self::TooManyMembers => None,
        }
    }
}
