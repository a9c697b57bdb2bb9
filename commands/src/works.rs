//! Doing a work: claim it, add the numbers, say how it went. The only I/O metadata the decision is
//! the adding itself, which takes a thread for a while.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use domain::works::{Command, Rejection, RetryPolicy, Work, add_up_to, stream};
use eventsourcing::{Metadata, Version};
use eventstore::EventStore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::handler::{Done, Envelope, Error, Handler};

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stands in the events: who did it.
    pub name: String,
    /// How long a claim holds. Longer than `time_limit`, or works are done twice over.
    pub lease: Duration,
    /// An attempt that takes longer fails.
    pub time_limit: Duration,
    pub retry: RetryPolicy,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    Completed,
    Failed,
    /// Somebody else has it, or it is finished, or it is not due.
    NotClaimed,
}

/// Does works, one at a time for each call of [`Worker::attempt`].
#[derive(Debug)]
pub struct Worker {
    store: EventStore,
    handler: Handler<Work>,
    options: Options,
}

impl Worker {
    pub fn new(store: EventStore, options: Options) -> Self {
        Self { handler: Handler::new(store.clone()), store, options }
    }

    /// Claims the work and does it. When `shutdown` comes first, the attempt fails and the work is
    /// free again after its backoff.
    pub async fn attempt(
        &self,
        id: Uuid,
        shutdown: &CancellationToken,
    ) -> Result<Attempt, Error<Rejection>> {
        let Options { name, lease, retry, .. } = &self.options;
        let Some(metadata) = self.work_metadata(id).await? else {
            return Ok(Attempt::NotClaimed);
        };
        let claim =
            Command::Claim { worker: name.clone(), now: now(), lease: *lease, retry: *retry };
        if !self.execute(id, claim, &metadata).await? {
            return Ok(Attempt::NotClaimed);
        }
        let Work::Claimed { attempt, add_up_to, .. } = self.handler.load(&stream(id)).await?.state
        else {
            return Ok(Attempt::NotClaimed); // The claim found the last lease ended, and gave it up.
        };
        if !self.execute(id, Command::Start { attempt }, &metadata).await? {
            return Ok(Attempt::NotClaimed);
        }
        let (outcome, verdict) = match self.add(add_up_to, shutdown).await {
            Ok(result) => (Command::Complete { attempt, result }, Attempt::Completed),
            Err(reason) => {
                let fail = Command::Fail { attempt, reason, now: now(), retry: *retry };
                (fail, Attempt::Failed)
            }
        };
        Ok(if self.execute(id, outcome, &metadata).await? { verdict } else { Attempt::NotClaimed })
    }

    /// What goes with all that is said of a work: it follows from the demand.
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

    /// False when the decider says that the work has gone on without us.
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

fn now() -> DateTime<Utc> {
    Utc::now()
}
