//! The runner: takes a batch from the feed, projects it, writes it and moves the checkpoint in one
//! transaction. The checkpoint's old value is the fence: of two runners, one wins.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use eventstore::parked::{self, MAX_ATTEMPTS, Parked};
use eventstore::{Checkpoint, EventStore, Feed, Filter, RawEvent, Unavailable, otel, otel_span};
use sqlx::postgres::types::Oid;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::projection::{ProjectError, Projection, project};
use crate::schema::{self, pointing_at};

/// Most events in one batch.
pub const BATCH_EVENTS: usize = 5_000;
/// A runner says that it lives this often, also when it has nothing to do.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// More starts than this at one position: something there kills the process, so go event by event.
pub(crate) const SUSPICIOUS_STARTS: i32 = 3;
/// First and longest wait before a failure of the database is met again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How far the projections of this process have come: a wake-up for those who wait. Projections
/// may run elsewhere; the truth is in `log.checkpoint`.
#[derive(Debug, Clone)]
pub struct Progress(Arc<HashMap<&'static str, watch::Sender<Position>>>);

impl Default for Progress {
    fn default() -> Self {
        let names = crate::names().into_iter();
        Self(Arc::new(names.map(|name| (name, watch::Sender::default())).collect()))
    }
}

impl Progress {
    /// Follows the projection of this name.
    pub fn of(&self, projection: &str) -> Option<watch::Receiver<Position>> {
        self.0.get(projection).map(watch::Sender::subscribe)
    }

    fn set(&self, projection: &str, position: Position) {
        if let Some(sender) = self.0.get(projection) {
            sender.send_replace(position);
        }
    }
}

/// Keeps `P` up to date until `shutdown`. Failures of the database are met with patience.
pub(crate) async fn run<P: Projection>(
    store: EventStore,
    feed: Feed,
    progress: Progress,
    shutdown: CancellationToken,
) {
    let mut backoff = BACKOFF.0;
    loop {
        let started = Instant::now();
        let error = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            // Cancelled between two statements, the transaction is rolled back: nothing is lost.
            ended = follow::<P>(&store, &feed, &progress) => match ended {
                Ok(never) => match never {},
                Err(error) => error,
            },
        };
        if matches!(error, Interrupted::Replaced) {
            tracing::info!(projection = P::NAME, %error);
            continue;
        }
        if started.elapsed() > BACKOFF.1 {
            backoff = BACKOFF.0;
        }
        tracing::warn!(projection = P::NAME, %error, ?backoff, "the projection starts again");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(backoff) => backoff = (backoff * 2).min(BACKOFF.1),
        }
    }
}

/// Why a runner starts again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    #[error(transparent)]
    Log(#[from] Unavailable),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("another runner has moved the checkpoint on, or set a stream aside")]
    Fenced,
    #[error("a rebuilt model has taken the place of this one")]
    Replaced,
    #[error(
        "the model is of version {found}, and this build's is {}: `tributary rebuild {name}`",
        wanted
    )]
    OtherVersion { name: &'static str, found: i32, wanted: i32 },
}

async fn follow<P: Projection>(
    store: &EventStore,
    feed: &Feed,
    progress: &Progress,
) -> Result<std::convert::Infallible, Interrupted> {
    let checkpoint = store.start_consumer(P::NAME).await?;
    let mut runner = Runner::<P>::open(store, P::NAME.to_owned(), checkpoint.position).await?;
    progress.set(P::NAME, runner.position);
    let mut subscription = feed.subscribe(runner.position, Filter::categories(P::CATEGORIES));
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut careful = checkpoint.starts > SUSPICIOUS_STARTS;
    if careful {
        let position = runner.position;
        tracing::warn!(projection = P::NAME, %position, "went down here before; taking care");
    }
    loop {
        let batch = tokio::select! {
            batch = subscription.next(BATCH_EVENTS) => batch?,
            _ = heartbeat.tick() => {
                store.heartbeat(P::NAME).await?;
                let streams = parked::requested(store.pool(), P::NAME).await?;
                runner.parked = Parked::load(store.pool(), P::NAME).await?;
                for stream in streams {
                    if let Some(retry) = parked::begin(store.pool(), P::NAME, &stream).await? {
                        runner.retry(store, retry).await?;
                    }
                    runner.parked = Parked::load(store.pool(), P::NAME).await?;
                }
                continue;
            }
        };
        let begun = Instant::now();
        let spans = otel::span_per_trace(&batch.events, || {
            otel_span!("project", otel.name = format_args!("project {}", P::NAME))
        });
        if std::mem::take(&mut careful) {
            runner.apply_carefully(&batch.events).await?;
        }
        runner.apply(&batch.events, batch.through).await?;
        drop(spans);
        progress.set(P::NAME, runner.position);
        if batch.events.len() < BATCH_EVENTS {
            sleep_until(begun + P::PACE).await;
        }
    }
}

/// Applies events to one model of `P`: the live one, or the one that is built beside it.
pub(crate) struct Runner<P> {
    /// Name of the consumer and of the schema.
    pub(crate) name: String,
    /// Its own; thrown away with whatever was open when anything fails.
    pub(crate) connection: PgConnection,
    pub(crate) position: Position,
    pub(crate) parked: Parked,
    /// The schema as it was at the start. Its name may be another's since: a rebuilt model's.
    pub(crate) schema: Oid,
    projection: std::marker::PhantomData<P>,
}

impl<P: Projection> Runner<P> {
    /// A runner of the model called `name`, which stands at `position`.
    pub(crate) async fn open(
        store: &EventStore,
        name: String,
        position: Position,
    ) -> Result<Self, Interrupted> {
        let mut connection = pointing_at(store.pool(), &name).connect().await?;
        let Some(found) = schema::found(&mut connection, &name).await? else {
            return Err(sqlx::Error::RowNotFound.into());
        };
        if found.version != P::VERSION {
            let (found, wanted) = (found.version, P::VERSION);
            return Err(Interrupted::OtherVersion { name: P::NAME, found, wanted });
        }
        let mut parked = Parked::load(store.pool(), &name).await?;
        // What somebody decided to pass over, every model of `P` passes over.
        parked.skip(Parked::load_skipped(store.pool(), P::NAME).await?);
        let projection = std::marker::PhantomData;
        Ok(Self { name, connection, position, parked, schema: found.oid, projection })
    }

    /// Applies events up to `through`. One that cannot be applied is found by halving, tried
    /// again, and parked with its stream; all others go on.
    pub(crate) async fn apply(
        &mut self,
        events: &[Arc<RawEvent>],
        through: Position,
    ) -> Result<(), Interrupted> {
        // A stack of halves instead of recursion: the left half is always on top.
        let mut stretches = vec![(events, through)];
        while let Some((events, through)) = stretches.pop() {
            if through <= self.position {
                continue; // Applied with care already.
            }
            let failure = match self.try_apply(events, through).await {
                Ok(()) => continue,
                Err(Failure::Interrupted(error)) => return Err(error),
                Err(failure) => failure,
            };
            match events {
                [] => return Err(failure.into_interruption()),
                [event] => self.suspect(event, &failure).await?,
                many => {
                    let (left, right) = many.split_at(many.len() / 2);
                    stretches.push((right, through));
                    let middle = left.last().map_or(self.position, |event| event.position);
                    stretches.push((left, middle));
                    continue;
                }
            }
            stretches.push((events, through));
        }
        Ok(())
    }

    /// One event at a time, each attempt counted before it is made: an event that kills the
    /// process is parked like any other.
    pub(crate) async fn apply_carefully(
        &mut self,
        events: &[Arc<RawEvent>],
    ) -> Result<(), Interrupted> {
        for event in events {
            let waits = self.parked.contains(&event.stream);
            if !waits && self.count(event, "killed the process").await? > MAX_ATTEMPTS {
                self.park(event).await?;
            }
            self.apply(std::slice::from_ref(event), event.position).await?;
            if !self.parked.contains(&event.stream) {
                parked::clear(&mut self.connection, &self.name, &(&**event).into()).await?;
            }
        }
        Ok(())
    }

    /// Counts a failed attempt at `event`; the last one parks its stream.
    async fn suspect(&mut self, event: &RawEvent, failure: &Failure) -> Result<(), Interrupted> {
        let error = parked::reason(failure);
        let attempts = self.count(event, &error).await?;
        tracing::warn!(
            projection = self.name, position = %event.position, stream = %event.stream, attempts,
            error, "an event could not be applied",
        );
        if attempts >= MAX_ATTEMPTS {
            return self.park(event).await;
        }
        sleep(BACKOFF.0 * 2_u32.saturating_pow(attempts.unsigned_abs())).await;
        Ok(())
    }

    /// Counts an attempt at `event`. Another runner may have parked its stream: this one then has to
    /// look again, or it would try for ever.
    async fn count(&mut self, event: &RawEvent, error: &str) -> Result<i32, Interrupted> {
        parked::count(&mut self.connection, &self.name, &event.into(), error)
            .await?
            .ok_or(Interrupted::Fenced)
    }

    async fn park(&mut self, event: &RawEvent) -> Result<(), Interrupted> {
        parked::park(&mut self.connection, &self.name, &event.into()).await?;
        self.parked.insert(event.stream.clone(), event.position);
        metrics::counter!("tributary_parked_total", "projection" => self.name.clone()).increment(1);
        Ok(())
    }

    async fn try_apply(
        &mut self,
        events: &[Arc<RawEvent>],
        through: Position,
    ) -> Result<(), Failure> {
        let flows = |event: &&Arc<RawEvent>| {
            !self.parked.contains(&event.stream) && !self.parked.skips(event.position)
        };
        let left_out: HashSet<&str> = events
            .iter()
            .filter(|event| self.parked.contains(&event.stream))
            .map(|event| event.stream.as_str())
            .collect();
        let left_out: Vec<&str> = left_out.into_iter().collect();
        let events = events.iter().filter(flows).map(Arc::as_ref);
        let last = events.clone().next_back().map(|event| event.recorded_at);
        let changes = project::<P>(events)?;
        self.write(changes, &left_out, last, through).await
    }

    /// Writes what the events up to `through` come to; none if there is no time of a last one.
    /// `left_out` are the streams whose events wait, and must still do so at the commit. The
    /// checkpoint comes first: whoever has its row locked, another runner or a rebuild that is
    /// about to take this model's place, is waited for before anything is written.
    pub(crate) async fn write(
        &mut self,
        changes: P::Changes,
        left_out: &[&str],
        last: Option<DateTime<Utc>>,
        through: Position,
    ) -> Result<(), Failure> {
        let mut transaction = self.connection.begin().await?;
        let (from, to) = (self.position, through);
        let moved = Checkpoint::advance(&mut transaction, &self.name, from, to, last).await?;
        // Asked under that lock: until the commit the name stays with this schema.
        if schema::oid(&mut transaction, &self.name).await? != Some(self.schema) {
            return Err(Failure::Interrupted(Interrupted::Replaced));
        }
        if !moved {
            return Err(Failure::Interrupted(Interrupted::Fenced));
        }
        if !parked::still_parked(&mut transaction, &self.name, left_out).await? {
            return Err(Failure::Interrupted(Interrupted::Fenced));
        }
        if last.is_some() {
            P::write(changes, &mut transaction).await?;
        }
        transaction.commit().await?;
        self.position = through;
        Ok(())
    }
}

/// Why a stretch of events was not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An event cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ProjectError),
    /// Postgres refuses what an event comes to.
    #[error("{}", .0.message())]
    Refused(Box<dyn sqlx::error::DatabaseError>),
    /// Nothing is wrong with the events.
    #[error(transparent)]
    Interrupted(Interrupted),
}

impl Failure {
    fn into_interruption(self) -> Interrupted {
        match self {
            Self::Interrupted(error) => error,
            Self::Refused(error) => sqlx::Error::Database(error).into(),
            Self::Unreadable(error) => sqlx::Error::Decode(error.into()).into(),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        // Data exceptions, constraint violations and limits exceeded speak of values; everything
        // else of the server.
        let about_data =
            |code: &str| ["22", "23", "54"].iter().any(|class| code.starts_with(class));
        match error {
            sqlx::Error::Database(error) if error.code().is_some_and(|code| about_data(&code)) => {
                Self::Refused(error)
            }
            error => Self::Interrupted(error.into()),
        }
    }
}
