//! Commands about projects and tasks. A task's decision rests on its project: it is made with the
//! project's state, and written on the condition that the project is still at that version. So a
//! task is never assigned to somebody who was removed a moment before.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use domain::Actor;
use domain::projects::{Project, Rejection, Task, project, task};
use eventsourcing::StreamId;
use eventstore::{EventStore, ExpectedVersion, StreamAppend};
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::handler::{Done, Envelope, Error, Handler};

/// How often a task's command is decided anew because its project changed in between.
const MAX_ATTEMPTS: usize = 16;
/// Lines to wait in; projects that share one wait for each other, which only costs time.
const PROJECT_LOCKS: usize = 1024;

/// Handles the commands of projects and of their tasks.
#[derive(Debug)]
pub struct Projects {
    handler: Handler<Project>,
    tasks: Handler<Task>,
    /// Whoever changes a project writes; a task whose project changed under it reads, together
    /// with others. They take turns: without this, one who changes a project without pause would
    /// keep everybody in this process from its tasks.
    project_locks: Box<[RwLock<()>]>,
}

impl Projects {
    pub fn new(store: EventStore) -> Self {
        Self {
            handler: Handler::new(store.clone()),
            tasks: Handler::new(store),
            project_locks: (0..PROJECT_LOCKS).map(|_| RwLock::default()).collect(),
        }
    }

    /// Hands `command` to a project whose id was just made.
    pub async fn create(
        &self,
        id: Uuid,
        command: project::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<Rejection>> {
        self.handler.create(&project::stream(id), command, envelope).await
    }

    /// Hands `command` to the project of this id.
    pub async fn execute(
        &self,
        id: Uuid,
        command: project::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<Rejection>> {
        let stream = project::stream(id);
        let _lock = self.project_lock(&stream).write().await;
        self.handler.execute(&stream, command, envelope).await
    }

    /// Lets `by` do `act` with the task of this id.
    pub async fn execute_task(
        &self,
        id: Uuid,
        by: Actor,
        act: task::Act,
        envelope: Envelope,
    ) -> Result<Done, Error<Rejection>> {
        let stream = task::stream(id);
        let project_id = match &act {
            task::Act::Create(new) => Some(new.project_id),
            task::Act::Change(_) | task::Act::Delete => {
                self.tasks.load(&stream).await?.state.project_id()
            }
        };
        let project = project::stream(project_id.ok_or(Error::Rejected(Rejection::TaskNotFound))?);
        let mut lock = None;
        for _ in 0..MAX_ATTEMPTS {
            let loaded = self.handler.load(&project).await?;
            let as_loaded = StreamAppend {
                stream: project.clone(),
                expected: ExpectedVersion::Exact(loaded.version),
                events: Vec::new(),
            };
            let envelope = Envelope { also: vec![as_loaded], ..envelope.clone() };
            let command = task::Command { by, within: Arc::new(loaded.state), act: act.clone() };
            let done = match &act {
                task::Act::Create(_) => self.tasks.create(&stream, command, envelope).await,
                task::Act::Change(_) | task::Act::Delete => {
                    self.tasks.execute(&stream, command, envelope).await
                }
            };
            match done {
                Err(Error::Conflict(changed)) if changed == project => {}
                done => return done,
            }
            if lock.is_none() {
                lock = Some(self.project_lock(&project).read().await);
            }
        }
        Err(Error::Contention(project))
    }

    fn project_lock(&self, project: &StreamId) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        project.hash(&mut hasher);
        &self.project_locks
            [usize::try_from(hasher.finish() % PROJECT_LOCKS as u64).unwrap_or_default()]
    }
}
