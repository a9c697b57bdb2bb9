//! Projects and their tasks: who belongs to a project, and how far its tasks are.
//!
//! A task's command rests on its project: who may work on it, who may be assigned, whether it is
//! archived. So it is decided together with the project's state, and written on the condition that
//! the project is still as it was.

mod rejection;
mod text;

pub mod project;
pub mod task;

pub use project::Project;
pub use rejection::Rejection;
pub use task::{Status, Task};
pub use text::{Change, Description, InvalidText, Name, Text};

use eventsourcing::Context;
use eventsourcing::Decider;
use eventsourcing::decider::AnyDecider;
use eventsourcing::union;

pub const CONTEXT: Context = Context {
    name: "projects",
    categories: &[Project::CATEGORY, Task::CATEGORY],
    events: &[project::TYPES, task::TYPES],
    deciders: &[AnyDecider::of::<Project>(), AnyDecider::of::<Task>()],
};

union! {
    /// What happened to a project or to a task.
    pub enum Event { Project(project::Event), Task(task::Event) }
}

#[cfg(test)]
mod tests;
