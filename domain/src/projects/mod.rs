//! Projects and their tasks: the members of a project and the status of its tasks.
//!
//! A command on a task depends on its project: who may work on it, who may be assigned, whether it is
//! archived. It is therefore decided together with the project's state, and appended on the condition
//! that the project has not changed.

mod rejection;
mod status;
mod text;

pub mod project;
pub mod task;

pub use project::Project;
pub use rejection::Rejection;
pub use status::Status;
pub use task::Task;
pub use text::{Change, Description, InvalidText, Name, Text};

use eventsourcing::Context;
use eventsourcing::Decider;
use eventsourcing::decider::AnyDecider;
use eventsourcing::union;

/// The context of projects and tasks.
pub const CONTEXT: Context = Context {
    name: "projects",
    categories: &[Project::CATEGORY, Task::CATEGORY],
    events: &[project::TYPES, task::TYPES],
    deciders: &[AnyDecider::of::<Project>(), AnyDecider::of::<Task>()],
};

/// Maximum number of members of a project, not counting its owner.
pub const MAX_MEMBERS: usize = 1_000;

union! {
    /// Events of projects and tasks.
    pub enum Event { Project(project::Event), Task(task::Event) }
}

#[cfg(test)]
mod tests;
