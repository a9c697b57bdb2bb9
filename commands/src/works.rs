//! The execution of a work: claim it, add the numbers, report the outcome. The addition runs on a
//! blocking thread.

use std::time::{Duration, Instant};

use domain::works::{Command, Rejection, RetryPolicy, Work, add_up_to, stream};
use eventsourcing::{Metadata, Version};
use eventstore::EventStore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::Error;
use crate::handler::{Done, Envelope, Handler};

/// Options of a worker.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the worker in the events.
    pub name: String,
    /// Duration of a claim. It must exceed `time_limit`, or another worker claims a work under way.
    pub lease: Duration,
    /// An attempt that takes longer than this fails.
    pub time_limit: Duration,
    /// When a failed work may be claimed again, and when it is given up.
    pub retry: RetryPolicy,
}

/// Outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The result was recorded.
    Completed,
    /// The failure was recorded.
    Failed,
    /// Another worker holds the lease, or the work is finished or not due.
    NotClaimed,
}

/// Executes works, one per call of [`Worker::attempt`].
#[derive(Debug)]
pub struct Worker {
    store: EventStore,
    handler: Handler<Work>,
    options: Options,
}

impl Worker {
    /// Makes a worker.
    pub fn new(store: EventStore, options: Options) -> Self {
        Self { handler: Handler::new(store.clone()), store, options }
    }

    /// Claims the work and executes it. If `shutdown` comes first, the attempt fails and the work can be
    /// claimed again after its backoff.
    pub async fn attempt(
        &self,
        id: Uuid,
        shutdown: &CancellationToken,
    ) -> Result<Attempt, Error<Rejection>> {
        let Options { name, lease, retry, .. } = &self.options;
        let Some(metadata) = self.work_metadata(id).await? else {
            return Ok(Attempt::NotClaimed);
        };
        let now = self.store.now().await?;
        let claim = Command::Claim { worker: name.clone(), now, lease: *lease, retry: *retry };
        if !self.execute(id, claim, &metadata).await? {
            return Ok(Attempt::NotClaimed);
        }
        let Work::Claimed { attempt, add_up_to, .. } = self.handler.load(&stream(id)).await?.state
        else {
            return Ok(Attempt::NotClaimed); // No attempt was left: the claim gave the work up.
        };
        if !self.execute(id, Command::Start { attempt }, &metadata).await? {
            return Ok(Attempt::NotClaimed);
        }
        let (command, attempted) = match self.add(add_up_to, shutdown).await {
            Ok(result) => (Command::Complete { attempt, result }, Attempt::Completed),
            Err(reason) => {
                let now = self.store.now().await?;
                (Command::Fail { attempt, reason, now, retry: *retry }, Attempt::Failed)
            }
        };
        Ok(if self.execute(id, command, &metadata).await? {
            attempted
        } else {
            Attempt::NotClaimed
        })
    }

    /// Metadata of every event of the attempt: caused by the demand. `None` if there is no such work.
    async fn work_metadata(&self, id: Uuid) -> Result<Option<Metadata>, Error<Rejection>> {
        let first = self.store.read_stream(&stream(id), Version::NONE, 1).await?;
        let Some(demanded) = first.first() else {
            return Ok(None);
        };
        let Metadata { correlation_id, traceparent, .. } = demanded.metadata()?;
        Ok(Some(Metadata {
            correlation_id: correlation_id.or(Some(demanded.id)),
            causation_id: Some(demanded.id),
            actor: Some(self.options.name.clone()),
            traceparent,
        }))
    }

    /// Executes a command of this attempt; false if the work has moved on to another attempt.
    async fn execute(
        &self,
        id: Uuid,
        command: Command,
        metadata: &Metadata,
    ) -> Result<bool, Error<Rejection>> {
        let envelope = Envelope { metadata: metadata.clone(), ..Envelope::default() };
        match self.handler.execute(&stream(id), command, envelope).await {
            Ok(Done { .. }) => Ok(true),
            Err(
                Error::Rejected(
                    Rejection::Leased
                    | Rejection::NotDue
                    | Rejection::Superseded
                    | Rejection::Finished,
                )
                | Error::Contention(_),
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn add(&self, bound: u32, shutdown: &CancellationToken) -> Result<u64, String> {
        let (limit, shutdown) = (self.options.time_limit, shutdown.clone());
        let deadline = Instant::now() + limit;
        let mut stop = move || shutdown.is_cancelled() || Instant::now() >= deadline;
        match tokio::task::spawn_blocking(move || add_up_to(bound, &mut stop)).await {
            Ok(Some(sum)) => Ok(sum),
            Ok(None) => Err(format!("stopped before it was done; the limit is {limit:?}")),
            Err(error) => Err(format!("the addition ended abruptly: {error}")),
        }
    }
}
