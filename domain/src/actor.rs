//! The actor of a command: the user who sends it, and the user's role.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The role of a user, from fewest to most permissions.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads and changes the user's own data.
    #[default]
    User,
    /// Operates the system: reads the data of all users, manages products and stock.
    Operator,
    /// Assigns roles, and acts on behalf of any user.
    Admin,
}

impl Role {
    /// All roles, from fewest to most permissions.
    pub const ALL: [Self; 3] = [Self::User, Self::Operator, Self::Admin];

    /// Returns the stable name, as stored in events and tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// The text is not the name of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is user, operator or admin")]
pub struct UnknownRole;

/// The user who sends a command, with the user's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Id of the user.
    pub id: Uuid,
    /// Role of the user.
    pub role: Role,
}

impl Actor {
    /// Returns whether the actor may read the data of all users: operators and administrators.
    pub fn sees_all(self) -> bool {
        self.role >= Role::Operator
    }

    /// Returns whether the actor may change what belongs to `owner`: the owner and administrators.
    pub fn may_act_for(self, owner: Uuid) -> bool {
        self.id == owner || self.role == Role::Admin
    }
}
