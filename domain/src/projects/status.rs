//! The status of a task, and which changes of it are allowed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The status of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")] // A derived enum would report `null` as invalid JSON.
pub enum Status {
    /// Not started.
    #[default]
    ToDo,
    /// Being worked on.
    InProgress,
    /// Finished.
    Done,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 3] = [Self::ToDo, Self::InProgress, Self::Done];

    /// Returns the stable name, as stored and shown by the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToDo => "ToDo",
            Self::InProgress => "InProgress",
            Self::Done => "Done",
        }
    }

    pub(super) fn moves_to(self, to: Self) -> bool {
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

/// The text is not a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status is ToDo, InProgress or Done")]
pub struct UnknownStatus;
