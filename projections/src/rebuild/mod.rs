//! Rebuilds a projection from the log while it serves: the same `project` and `write` on the same
//! events fill the shadow schema `NAME__rebuild`, which then replaces the live one. Queries see the
//! whole old schema until the moment they see the new one, whose checkpoint is not lower.

mod compare;
mod fill;
mod indexes;
mod shadow_schema;
mod swap;

use std::time::{Duration, Instant};

use eventsourcing::Position;
use eventstore::consume::{ConsumeError, Runner};
use eventstore::{EventStore, Unavailable};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::projection::Projection;
use crate::projector::Projector;
use crate::schema::unlimited;

pub use compare::Difference;

/// A rebuild this close to its target, in positions, stops the live projector for the rest.
const NEAR: i64 = 2_000;
/// Rounds of catching up with the live projector, before it is stopped however far away it is.
const ROUNDS: usize = 20;
/// First half of the advisory lock's key; the second is a hash of the name. The lock keeps two
/// rebuilds of one projection from doing the same work; the checkpoint keeps them from doing harm.
pub(crate) const LOCK: i32 = 0x7265_6266;
/// Between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Purpose of a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Replaces the live schema.
    Replace,
    /// Replaces the live schema if all rows are the same at one position of the log.
    ReplaceIfEqual,
    /// Compares the live schema with a rebuilt one, and drops the latter.
    Compare,
}

impl Purpose {
    fn compares(self) -> bool {
        self != Self::Replace
    }
}

/// Phase of a rebuild.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not begun.
    #[default]
    Waiting,
    /// Events are applied to the shadow schema.
    Filling,
    /// Indexes are created.
    Indexing,
    /// Rows of both schemas are compared.
    Comparing,
    /// The shadow schema replaces the live one.
    Replacing,
    /// Ended.
    Done,
}

/// Progress of a rebuild.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Current phase.
    pub phase: Phase,
    /// Position it started or resumed at; 0 is the start of the log.
    pub from: i64,
    /// Position up to which events are applied.
    pub position: i64,
    /// Position it fills to.
    pub target: i64,
    /// Number of events applied since it started or resumed.
    pub events: u64,
}

/// Result of a rebuild.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rebuilt {
    /// Name of the projection.
    pub name: &'static str,
    /// Version of the rebuilt tables.
    pub version: i32,
    /// Position at which an interrupted rebuild was resumed; 0 if it started with the log.
    pub resumed_at: i64,
    /// Position up to which events were applied.
    pub position: i64,
    /// Number of events applied since it started or resumed.
    pub events: u64,
    /// Duration in seconds.
    pub seconds: f64,
    /// Events applied a second.
    pub events_per_second: f64,
    /// Number of parked streams.
    pub parked: i64,
    /// Tables whose rows differ. If there are any, the live schema was not replaced.
    pub differences: Vec<Difference>,
    /// Whether the live schema was replaced.
    pub replaced: bool,
}

/// Why a rebuild failed. The shadow schema is kept: the next rebuild resumes there.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// No projection has this name.
    #[error("there is no projection called {0}")]
    Unknown(String),
    /// Another rebuild of the projection runs.
    #[error("{0} is being rebuilt already")]
    Busy(&'static str),
    /// The live schema does not exist.
    #[error("projection {0} has no schema yet: run `tributary migrate`")]
    NoModel(&'static str),
    /// The live schema was made by a build with other tables.
    #[error("the live schema of {0} has another version than this build: it cannot be compared")]
    OtherVersion(&'static str),
    /// The swap did not get its locks in time.
    #[error(
        "cannot lock the live schema of {0}: others hold locks for too long; try again with less load"
    )]
    Restless(&'static str),
    /// The schema that the previous swap replaced cannot be dropped yet.
    #[error(
        "a query still reads the schema of {0} that the last rebuild replaced; try again when it has ended"
    )]
    StillRead(&'static str),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] Unavailable),
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The rebuild stopped before its end, for the reason given.
    #[error("{0}")]
    Interrupted(String),
}

impl From<ConsumeError> for RebuildError {
    fn from(error: ConsumeError) -> Self {
        match error {
            ConsumeError::Log(error) => error.into(),
            ConsumeError::Database(error) => error.into(),
            error @ (ConsumeError::Append(_)
            | ConsumeError::Fenced
            | ConsumeError::Panicked(_)
            | ConsumeError::NewerBuild(_)
            | ConsumeError::Failed(_)) => Self::Interrupted(error.to_string()),
        }
    }
}

type Run = for<'a> fn(
    &'a mut PgConnection,
    &'a EventStore,
    Purpose,
    &'a watch::Sender<Step>,
) -> BoxFuture<'a, Result<Rebuilt, RebuildError>>;

/// The only rebuild of a projection, from [`Rebuild::begin`] until it is dropped or its process ends.
#[derive(Debug)]
pub struct Rebuild {
    name: &'static str,
    run: Run,
    store: EventStore,
    /// Holds the advisory lock, and replaces the live schema.
    control: PgConnection,
}

impl Rebuild {
    /// Locks the projection `name` for a rebuild, waiting up to `patience`: the server may not have
    /// noticed yet that the process of the one before was killed.
    pub async fn begin(
        store: &EventStore,
        name: &str,
        patience: Duration,
    ) -> Result<Self, RebuildError> {
        let Some((name, run)) = run_of(name) else {
            return Err(RebuildError::Unknown(name.to_owned()));
        };
        let mut control = unlimited(store, "pg_catalog").await?;
        let begun = Instant::now();
        let lock = "select pg_try_advisory_lock($1, hashtext($2))";
        while !sqlx::query_scalar(lock).bind(LOCK).bind(name).fetch_one(&mut control).await? {
            if begun.elapsed() >= patience {
                return Err(RebuildError::Busy(name));
            }
            sleep(LOCK_PAUSE).await;
        }
        Ok(Self { name, run, store: store.clone(), control })
    }

    /// Name of the projection.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the rebuild, reporting to `step`. The next one resumes it if it is interrupted.
    pub async fn run(
        mut self,
        purpose: Purpose,
        step: &watch::Sender<Step>,
    ) -> Result<Rebuilt, RebuildError> {
        let rebuilt = (self.run)(&mut self.control, &self.store, purpose, step).await?;
        self.control.close().await?;
        Ok(rebuilt)
    }
}

/// The projection `name` and its rebuild. Not in an `async fn`, which is compiled again with all that
/// it refers to in each crate that calls it.
fn run_of(name: &str) -> Option<(&'static str, Run)> {
    fn entry<P: Projection>() -> (&'static str, Run) {
        (P::NAME, |control, store, purpose, step| run::<P>(control, store, purpose, step).boxed())
    }
    crate::for_each_projection!(entry()).into_iter().find(|(of, _)| *of == name)
}

async fn run<P: Projection>(
    control: &mut PgConnection,
    store: &EventStore,
    purpose: Purpose,
    step: &watch::Sender<Step>,
) -> Result<Rebuilt, RebuildError> {
    let begun = Instant::now();
    let name = shadow_schema::name::<P>();
    let mut projector = Projector::<P>::new(name.clone(), watch::Sender::default());
    let mut runner = shadow_schema::begin(control, store, purpose, &mut projector).await?;
    let from = runner.position().0;
    step.send_modify(|step| *step = Step { phase: Phase::Filling, from, position: from, ..*step });

    catch_up(control, store, &mut runner, purpose, step).await?;
    step.send_modify(|step| step.phase = Phase::Indexing);
    indexes::create_deferred(control, &shadow_schema::name::<P>()).await?;
    step.send_modify(|step| step.phase = Phase::Filling);
    catch_up(control, store, &mut runner, purpose, step).await?;
    let mut differences = Vec::new();
    if purpose.compares() {
        let mut snapshot = {
            let (held, live) = swap::hold::<P>(control).await?;
            fill::to(store, &mut runner, live, step).await?;
            let snapshot = compare::Snapshot::take::<P>(store).await?;
            held.rollback().await?;
            snapshot
        };
        step.send_modify(|step| step.phase = Phase::Comparing);
        differences = snapshot.differences::<P>().await?;
        step.send_modify(|step| step.phase = Phase::Filling);
    }
    let replaces = purpose != Purpose::Compare && differences.is_empty();
    if replaces {
        if !swap::drop_old::<P>(control).await? {
            return Err(RebuildError::StillRead(P::NAME));
        }
        catch_up(control, store, &mut runner, purpose, step).await?;
        let (held, live) = swap::hold::<P>(control).await?;
        step.send_modify(|step| step.phase = Phase::Replacing);
        fill::to(store, &mut runner, live, step).await?;
        swap::replace::<P>(held).await?;
        swap::drop_old::<P>(control).await?;
    }
    let parked = parked(control, if replaces { P::NAME } else { &name }).await?;
    if purpose == Purpose::Compare {
        shadow_schema::discard::<P>(control).await?;
    }
    step.send_modify(|step| step.phase = Phase::Done);
    let (events, seconds) = (step.borrow().events, begun.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
    let events_per_second = events as f64 / seconds;
    Ok(Rebuilt {
        name: P::NAME,
        version: P::VERSION,
        resumed_at: from,
        position: runner.position().0,
        events,
        seconds,
        events_per_second,
        parked,
        differences,
        replaced: replaces,
    })
}

/// Applies events until little is left.
async fn catch_up<P: Projection>(
    control: &mut PgConnection,
    store: &EventStore,
    runner: &mut Runner<'_, Projector<P>>,
    purpose: Purpose,
    step: &watch::Sender<Step>,
) -> Result<(), RebuildError> {
    for _ in 0..ROUNDS {
        let target = target::<P>(control, purpose).await?;
        if target.0 - runner.position().0 <= NEAR {
            break;
        }
        fill::to(store, runner, target, step).await?;
    }
    Ok(())
}

/// Where to fill to. For a comparison the shadow schema must not be ahead of the live one; to replace
/// it, it may be, and should be if the live projector cannot go on.
async fn target<P: Projection>(
    control: &mut PgConnection,
    purpose: Purpose,
) -> Result<Position, sqlx::Error> {
    let position = sqlx::query_scalar(
        "select greatest(
                  coalesce((select position from log.checkpoint where consumer = $1), 0),
                  case when $2 then 0 else (select position from log.head) end)",
    );
    position.bind(P::NAME).bind(purpose.compares()).fetch_one(control).await.map(Position)
}

async fn parked(control: &mut PgConnection, consumer: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from log.parked where consumer = $1 and parked")
        .bind(consumer)
        .fetch_one(control)
        .await
}
