//! The tasks of a process. A panic in one of them is reported and ends the process; it is never lost
//! with a dropped `JoinHandle`.

use std::any::Any;
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::fault;

/// The tasks of a process, which shutdown waits for. Clones spawn on the same tracker.
///
/// Every task is spawned here. A task that must survive the panic of a part of its work runs the part
/// in [`caught`], as the consumer runtime does with its consumers.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    panicked: watch::Sender<Option<TaskPanicked>>,
}

/// A task has panicked: a part of the process is missing, so the process has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {task} panicked: {message}")]
pub struct TaskPanicked {
    /// Name of the task.
    pub task: Cow<'static, str>,
    /// Message of the panic; empty if it is not text.
    pub message: String,
}

impl Tasks {
    /// A tracker without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns `task` under a `name` for logs and metrics. A panic is logged, counted
    /// (`tributary_task_panics_total`) and reported by [`Tasks::panicked`].
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, task: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (name, panicked) = (name.into(), self.panicked.clone());
        let supervised = async move {
            let task = async {
                fault::point("task", &name);
                task.await
            };
            let Err(message) = caught(task).await else { return };
            tracing::error!(task = &*name, message, "task panicked");
            metrics::counter!("tributary_task_panics_total", "task" => name.to_string())
                .increment(1);
            panicked.send_if_modified(|first| {
                let is_first = first.is_none();
                if is_first {
                    *first = Some(TaskPanicked { task: name, message });
                }
                is_first
            });
        };
        #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
        self.tracker.spawn(supervised);
    }

    /// Waits for a panic and returns the first. Never returns while there is none.
    pub async fn panicked(&self) -> TaskPanicked {
        let mut panicked = self.panicked.subscribe();
        let first = match panicked.wait_for(Option::is_some).await {
            Ok(first) => first.clone(),
            Err(_) => None, // Not possible: this keeps a sender.
        };
        match first {
            Some(first) => first,
            None => std::future::pending().await,
        }
    }

    /// Lets [`Tasks::wait`] return once all tasks have ended.
    pub fn close(&self) {
        self.tracker.close();
    }

    /// Waits until the tasks are closed and all have ended.
    pub async fn wait(&self) {
        self.tracker.wait().await;
    }

    /// Number of running tasks.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task is running.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}

/// Runs `future` and returns the message if it panics. What the future has left in memory must not be
/// used after a panic.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| message(&*panic))
}

/// The message of a panic, if it is text.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_with_its_message() {
        let panicking = async |number: i32| -> () { panic!("event {number}") };
        assert_eq!(caught(panicking(7)).await, Err("event 7".to_owned()));
        assert_eq!(caught(async { 7 }).await, Ok(7));
        assert_eq!((message(&"text"), message(&7)), ("text".to_owned(), String::new()));
    }

    #[tokio::test]
    async fn the_first_panic_of_a_task_is_reported() {
        let tasks = Tasks::new();
        tasks.spawn("works", async { 7 });
        tasks.spawn("feed", async { panic!("no head") });
        let panicked = tasks.panicked().await;
        assert_eq!(panicked.to_string(), "task feed panicked: no head");
        tasks.close();
        tasks.wait().await;
        assert_eq!((tasks.panicked().await, tasks.len()), (panicked, 0));
    }
}
