//! Building a model anew beside the one that serves, and putting it in its place: the same pure
//! `project` and `write` on the same events, into the schema `NAME__rebuild`. Whoever queries sees
//! the old model, whole, until the moment it sees the new one, which is at least as far.

mod beside;
mod compare;
mod fill;
mod indexes;
mod swap;

use std::time::{Duration, Instant};

use eventsourcing::Position;
use eventstore::{EventStore, Unavailable};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::projection::Projection;
use crate::runner::{Interrupted, Runner};
use crate::schema::pointing_at;

pub use compare::Difference;

/// A rebuild this close to its aim, in positions, stops the live model for the rest.
const NEAR: i64 = 2_000;
/// Rounds of catching up with a model that does not wait, before it is made to wait anyway.
const ROUNDS: usize = 20;
/// First half of the advisory lock's key; the second is a hash of the name. It keeps two rebuilds
/// of one model from doing the same work; that they do no harm is the checkpoint's business.
pub(crate) const LOCK: i32 = 0x7265_6266;
/// Between two tries to be the only rebuild.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// What a rebuild is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To take the live model's place.
    Replace,
    /// To take its place if both say the same at one position of the log, row by row.
    ReplaceIfEqual,
    /// To be compared with it and thrown away.
    Compare,
}

impl Purpose {
    fn compares(self) -> bool {
        self != Self::Replace
    }
}

/// What a rebuild is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has not begun.
    #[default]
    Waiting,
    Filling,
    /// Its indexes are made.
    Indexing,
    Comparing,
    /// It takes the live model's place.
    Replacing,
    Done,
}

/// How far a rebuild has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    pub phase: Phase,
    /// Where it went on this time; 0 at the start of the log.
    pub from: i64,
    pub position: i64,
    /// Where it wants to.
    pub target: i64,
    /// Events applied this time.
    pub events: u64,
}

/// How a rebuild ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rebuilt {
    pub name: &'static str,
    pub version: i32,
    /// Where an earlier one was interrupted; 0 if it began at the start of the log.
    pub resumed_at: i64,
    pub position: i64,
    /// Events applied this time.
    pub events: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    /// Streams it had to set aside.
    pub parked: i64,
    /// What the live model says otherwise. If anything, it was not replaced.
    pub differences: Vec<Difference>,
    /// Whether it took the live model's place.
    pub replaced: bool,
}

/// Why a rebuild ended before it was done. What it has done is kept: the next one goes on there.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("there is no projection called {0}")]
    Unknown(String),
    #[error("{0} is being rebuilt already")]
    Busy(&'static str),
    #[error("{0} has no model yet: `tributary migrate` makes one")]
    NoModel(&'static str),
    #[error("the live model of {0} is of another version: there is nothing to compare")]
    OtherVersion(&'static str),
    #[error("the live model of {0} is never at rest for long enough")]
    Restless(&'static str),
    #[error("somebody still reads the model of {0} that was replaced last time")]
    StillRead(&'static str),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("{0}")]
    Interrupted(String),
}

impl From<Unavailable> for RebuildError {
    fn from(Unavailable(error): Unavailable) -> Self {
        error.into()
    }
}

impl From<Interrupted> for RebuildError {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Log(Unavailable(error)) | Interrupted::Database(error) => error.into(),
            other => Self::Interrupted(other.to_string()),
        }
    }
}

type Run = for<'a> fn(
    &'a mut PgConnection,
    &'a EventStore,
    Purpose,
    &'a watch::Sender<Step>,
) -> BoxFuture<'a, Result<Rebuilt, RebuildError>>;

/// The only rebuild of a projection, from [`Rebuild::begin`] until it is let go, also by the end of
/// the process.
#[derive(Debug)]
pub struct Rebuild {
    name: &'static str,
    run: Run,
    store: EventStore,
    /// Holds the advisory lock; the model is replaced on it.
    desk: PgConnection,
}

impl Rebuild {
    /// Becomes the only rebuild of `name`, if it does within `patience`: the server may not have
    /// noticed yet that the one before was killed.
    pub async fn begin(
        store: &EventStore,
        name: &str,
        patience: Duration,
    ) -> Result<Self, RebuildError> {
        fn entry<P: Projection>() -> (&'static str, Run) {
            (P::NAME, |desk, store, purpose, step| run::<P>(desk, store, purpose, step).boxed())
        }
        let known = crate::for_each_projection!(entry()).into_iter().find(|(of, _)| *of == name);
        let Some((name, run)) = known else {
            return Err(RebuildError::Unknown(name.to_owned()));
        };
        let mut desk = pointing_at(store.pool(), "pg_catalog").connect().await?;
        let begun = Instant::now();
        let lock = "select pg_try_advisory_lock($1, hashtext($2))";
        while !sqlx::query_scalar(lock).bind(LOCK).bind(name).fetch_one(&mut desk).await? {
            if begun.elapsed() >= patience {
                return Err(RebuildError::Busy(name));
            }
            sleep(LOCK_PAUSE).await;
        }
        Ok(Self { name, run, store: store.clone(), desk })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Does it. Given up half-way, by a crash too, it is gone on with by the next one.
    pub async fn run(
        mut self,
        purpose: Purpose,
        step: &watch::Sender<Step>,
    ) -> Result<Rebuilt, RebuildError> {
        let rebuilt = (self.run)(&mut self.desk, &self.store, purpose, step).await?;
        self.desk.close().await?;
        Ok(rebuilt)
    }
}

async fn run<P: Projection>(
    desk: &mut PgConnection,
    store: &EventStore,
    purpose: Purpose,
    step: &watch::Sender<Step>,
) -> Result<Rebuilt, RebuildError> {
    let begun = Instant::now();
    let mut runner = beside::begin::<P>(desk, store, purpose).await?;
    let from = runner.position.0;
    step.send_modify(|step| *step = Step { phase: Phase::Filling, from, position: from, ..*step });

    catch_up(desk, store, &mut runner, purpose, step).await?;
    step.send_modify(|step| step.phase = Phase::Indexing);
    indexes::make::<P>(desk).await?;
    step.send_modify(|step| step.phase = Phase::Filling);
    catch_up(desk, store, &mut runner, purpose, step).await?;
    let mut differences = Vec::new();
    if purpose.compares() {
        let mut snapshot = {
            let (held, live) = swap::hold::<P>(desk).await?;
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
        if !swap::drop_old::<P>(desk).await? {
            return Err(RebuildError::StillRead(P::NAME));
        }
        catch_up(desk, store, &mut runner, purpose, step).await?;
        let (held, live) = swap::hold::<P>(desk).await?;
        step.send_modify(|step| step.phase = Phase::Replacing);
        fill::to(store, &mut runner, live, step).await?;
        swap::replace::<P>(held).await?;
        swap::drop_old::<P>(desk).await?;
    }
    let parked = parked(desk, if replaces { P::NAME } else { &runner.name }).await?;
    if purpose == Purpose::Compare {
        beside::discard::<P>(desk).await?;
    }
    step.send_modify(|step| step.phase = Phase::Done);
    let (events, seconds) = (step.borrow().events, begun.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 events")]
    let events_per_second = events as f64 / seconds;
    Ok(Rebuilt {
        name: P::NAME,
        version: P::VERSION,
        resumed_at: from,
        position: runner.position.0,
        events,
        seconds,
        events_per_second,
        parked,
        differences,
        replaced: replaces,
    })
}

/// Goes on until little is left.
async fn catch_up<P: Projection>(
    desk: &mut PgConnection,
    store: &EventStore,
    runner: &mut Runner<P>,
    purpose: Purpose,
    step: &watch::Sender<Step>,
) -> Result<(), RebuildError> {
    for _ in 0..ROUNDS {
        let target = target::<P>(desk, purpose).await?;
        if target.0 - runner.position.0 <= NEAR {
            break;
        }
        fill::to(store, runner, target, step).await?;
    }
    Ok(())
}

/// To be compared, the new model must not be further than the live one; to take its place, it may
/// be, and had better be where the live one is stuck.
async fn target<P: Projection>(
    desk: &mut PgConnection,
    purpose: Purpose,
) -> Result<Position, sqlx::Error> {
    let position = sqlx::query_scalar(
        "select greatest(
                  coalesce((select position from log.checkpoint where consumer = $1), 0),
                  case when $2 then 0 else (select position from log.head) end)",
    );
    position.bind(P::NAME).bind(purpose.compares()).fetch_one(desk).await.map(Position)
}

async fn parked(desk: &mut PgConnection, consumer: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from log.parked where consumer = $1 and parked")
        .bind(consumer)
        .fetch_one(desk)
        .await
}
