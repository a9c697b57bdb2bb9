//! Commands on projects and tasks. A command on a task is decided with the state of its project, and
//! appended on the condition that the project is still at that version: a task is never assigned to a
//! member who was removed in the meantime. Commands of an administrator depend on the administrator's
//! role in the log in the same way.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use domain::projects::{Project, Rejection, Task, project, task};
use domain::{Actor, Role};
use eventsourcing::{Decider, StreamId};
use eventstore::{EventStore, ExpectedVersion, StreamAppend};
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::authority;
use crate::error::{Error, LoadError};
use crate::handler::{Done, Envelope, Handler};

/// Most decisions per command on a task: each one but the last met a change of its project.
const MAX_ATTEMPTS: usize = 16;
/// Locks; projects that share one wait for each other, which costs time only.
const PROJECT_LOCKS: usize = 1024;

/// Handler of the commands on projects and their tasks.
#[derive(Debug)]
pub struct Projects {
    handler: Handler<Project>,
    tasks: Handler<Task>,
    users: authority::Users,
    /// Held for writing by commands on a project, and for reading by commands on a task whose project
    /// changed under them. Without it, a client that changes a project without pause would starve the
    /// commands on its tasks in this process.
    project_locks: Box<[RwLock<()>]>,
}

impl Projects {
    /// Makes a handler with empty caches.
    pub fn new(store: EventStore) -> Self {
        Self {
            handler: Handler::new(store.clone()),
            tasks: Handler::new(store.clone()),
            users: Handler::new(store),
            project_locks: (0..PROJECT_LOCKS).map(|_| RwLock::default()).collect(),
        }
    }

    /// Executes `command` on a project whose id is new.
    pub async fn create(
        &self,
        id: Uuid,
        command: project::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<Rejection>> {
        self.handler.create(&project::stream(id), command, envelope).await
    }

    /// Executes `command` on the project of this id.
    pub async fn execute(
        &self,
        id: Uuid,
        command: project::Command,
        envelope: Envelope,
    ) -> Result<Done, Error<Rejection>> {
        let stream = project::stream(id);
        let _lock = self.project_lock(&stream).write().await;
        for _ in 0..authority::MAX_ATTEMPTS {
            let (by, check) = self.actor(command.by).await?;
            let (command, mut envelope) =
                (project::Command { by, ..command.clone() }, envelope.clone());
            self.check_new_member(&stream, &command).await?;
            envelope.also.extend(check);
            match self.handler.execute(&stream, command, envelope).await {
                Err(Error::Conflict(_)) => {} // The administrator's stream has changed.
                done => return done,
            }
        }
        Err(Error::Contention(stream))
    }

    /// Returns an error if `command` would make a user a member who is not registered. What else refuses
    /// the command comes first, so that a stranger does not learn here who is registered.
    async fn check_new_member(
        &self,
        stream: &StreamId,
        command: &project::Command,
    ) -> Result<(), Error<Rejection>> {
        let project::Act::AddMember(user) = command.act else { return Ok(()) };
        if authority::is_registered(&self.users, user).await? {
            return Ok(());
        }
        let decided = self.handler.load(stream).await?.state.decide(command.clone());
        let adds = decided.is_ok_and(|events| !events.is_empty());
        if adds { Err(Error::Rejected(Rejection::UserNotFound)) } else { Ok(()) }
    }

    /// Returns the actor with the role in the log, and the check of the role for the append. Users other
    /// than administrators act for themselves; for them the token is enough.
    async fn actor(&self, token: Actor) -> Result<(Actor, Option<StreamAppend>), LoadError> {
        if token.role != Role::Admin {
            return Ok((token, None));
        }
        let (by, check) = authority::authority(&self.users, token).await?;
        Ok((by.actor, Some(check)))
    }

    /// Executes `act` by the subject of `token` on the task of this id.
    pub async fn execute_task(
        &self,
        id: Uuid,
        token: Actor,
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
            let (by, check) = self.actor(token).await?;
            let also = std::iter::once(as_loaded).chain(check).collect();
            let envelope = Envelope { also, ..envelope.clone() };
            let command = task::Command { by, within: Arc::new(loaded.state), act: act.clone() };
            let done = match &act {
                task::Act::Create(_) => self.tasks.create(&stream, command, envelope).await,
                task::Act::Change(_) | task::Act::Delete => {
                    self.tasks.execute(&stream, command, envelope).await
                }
            };
            match done {
                Err(Error::Conflict(_)) => {} // The project or the administrator has changed.
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
