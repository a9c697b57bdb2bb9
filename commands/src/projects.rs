//! Commands about tasks. A task's decision rests on its project: it is made with the project's
//! state, and written on the condition that the project is still at that version. So a task is
//! never assigned to somebody who was removed a moment before.

use std::sync::Arc;

use domain::Actor;
use domain::projects::{Rejection, project, task};
use eventstore::{ExpectedVersion, StreamAppend};
use uuid::Uuid;

use crate::Handlers;
use crate::handler::{Done, Envelope, Error};

/// How often a task's command is decided anew because its project changed in between.
const MAX_ATTEMPTS: usize = 16;

/// Lets `by` do `act` with the task of this id.
pub async fn execute(
    handlers: &Handlers,
    id: Uuid,
    by: Actor,
    act: task::Act,
    envelope: Envelope,
) -> Result<Done, Error<Rejection>> {
    let stream = task::stream(id);
    let project_id = match &act {
        task::Act::Create(new) => Some(new.project_id),
        task::Act::Change(_) | task::Act::Delete => {
            handlers.tasks.load(&stream).await?.state.project_id()
        }
    };
    let project = project::stream(project_id.ok_or(Error::Rejected(Rejection::TaskNotFound))?);
    for _ in 0..MAX_ATTEMPTS {
        let loaded = handlers.projects.load(&project).await?;
        let as_loaded = StreamAppend {
            stream: project.clone(),
            expected: ExpectedVersion::Exact(loaded.version),
            events: Vec::new(),
        };
        let envelope = Envelope { also: vec![as_loaded], ..envelope.clone() };
        let command = task::Command { by, within: Arc::new(loaded.state), act: act.clone() };
        let done = match &act {
            task::Act::Create(_) => handlers.tasks.create(&stream, command, envelope).await,
            task::Act::Change(_) | task::Act::Delete => {
                handlers.tasks.execute(&stream, command, envelope).await
            }
        };
        match done {
            Err(Error::Conflict(changed)) if changed == project => {}
            done => return done,
        }
    }
    Err(Error::Contention(project))
}
