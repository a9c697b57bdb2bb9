//! The watcher: folds readings and rules, in the order of the log, and appends the alerts that
//! follow. Alerts are named after what led to them, so doing it twice, after a crash or beside
//! another watcher, writes nothing twice. What it remembers is saved with its checkpoint.

mod again;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use domain::alerts::{
    Cause, Outcome, READING, Reading, RulesEvent, Scope, alert_stream, rules_stream,
};
use eventsourcing::{Metadata, Position, StreamId};
use eventstore::parked::{self, Parked, Suspect};
use eventstore::{
    Append, AppendError, Checkpoint, EventStore, ExpectedVersion, Feed, Filter, NewEvent, RawEvent,
    Unavailable, snapshot,
};
use futures::future::try_join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rulebook::Rulebook;
use super::watches::{Following, PAGE, SNAPSHOTS, Watches, halves, restore};
use crate::handler::LoadError;

/// Stream category of devices, whose readings are watched.
const DEVICE: &str = "device";
/// Events taken at once.
const BATCH_EVENTS: usize = 4_096;
/// What it remembers is saved this often: what is folded again after a crash, at most.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How long a watcher that died keeps others from taking over.
const LEASE: Duration = Duration::from_secs(5);
/// First and longest wait before a failure is met again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Alerts appended at once; those of one alert wait for each other.
const AT_ONCE: usize = 256;

/// Watches every device there are rules for.
#[derive(Debug)]
pub struct Watcher {
    store: EventStore,
    feed: Feed,
    owner: Uuid,
}

/// Why it starts again.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Log(#[from] Unavailable),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("another watcher has taken over")]
    Fenced,
}

impl Watcher {
    /// Name of the consumer, and of the lease of the one who watches.
    pub const NAME: &'static str = "alert_watch";

    pub fn new(store: EventStore, feed: Feed) -> Self {
        Self { store, feed, owner: Uuid::now_v7() }
    }

    /// Watches until `shutdown`, whenever nobody else does. Failures of the database are met with
    /// patience.
    pub async fn run(&self, shutdown: &CancellationToken) {
        let mut backoff = BACKOFF.0;
        loop {
            let started = Instant::now();
            let ended = match shutdown.run_until_cancelled(self.watch()).await {
                None => break,
                Some(Ok(never)) => match never {},
                Some(Err(error)) => error,
            };
            if started.elapsed() > BACKOFF.1 {
                backoff = BACKOFF.0;
            }
            tracing::warn!(error = %ended, ?backoff, "the watcher starts again");
            shutdown.run_until_cancelled(sleep(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
        if self.store.release_lease(Self::NAME, self.owner).await.is_err() {
            tracing::debug!("the lease ends by itself");
        }
    }

    async fn watch(&self) -> Result<Infallible, Interrupted> {
        while !self.store.take_lease(Self::NAME, self.owner, LEASE).await? {
            sleep(SAVE_EVERY).await;
        }
        let start = self.store.start_consumer(Self::NAME).await?.position;
        let mut fold = Fold {
            store: &self.store,
            rulebook: Rulebook::default(),
            watches: Watches::default(),
            parked: Parked::load(self.store.pool(), Self::NAME).await?,
            position: start,
            following: Vec::new(),
        };
        let filter = Filter {
            event_types: vec![READING.to_owned(), "rules_configured".to_owned()],
            ..Filter::categories(&[DEVICE, rules_stream(&Scope::Everybody).category()])
        };
        let mut subscription = self.feed.subscribe(start, filter);
        let mut saved = start;
        let mut save = interval(SAVE_EVERY);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut recorded_at = None;
        loop {
            tokio::select! {
                biased;
                _ = save.tick() => {
                    if !self.store.take_lease(Self::NAME, self.owner, LEASE).await? {
                        return Err(Interrupted::Fenced);
                    }
                    if fold.position == saved {
                        self.store.heartbeat(Self::NAME).await?;
                    } else {
                        fold.save(saved, recorded_at).await?;
                        saved = fold.position;
                    }
                    fold.retry().await?;
                }
                batch = subscription.next(BATCH_EVENTS) => {
                    let batch = batch?;
                    recorded_at = batch.events.last().map(|event| event.recorded_at).or(recorded_at);
                    fold.take(&batch.events).await?;
                    fold.position = batch.through;
                }
            }
        }
    }
}

/// The fold, as far as it has come.
struct Fold<'a> {
    store: &'a EventStore,
    rulebook: Rulebook,
    watches: Watches,
    parked: Parked,
    position: Position,
    /// Not yet appended.
    following: Vec<Following>,
}

impl Fold<'_> {
    /// Folds `events`, and appends what follows.
    async fn take(&mut self, events: &[Arc<RawEvent>]) -> Result<(), Interrupted> {
        // Rules change between readings, seldom.
        for stretch in events.chunk_by(|one, next| is_reading(one) && is_reading(next)) {
            match stretch {
                [rules] if !is_reading(rules) => self.change(rules).await?,
                readings => self.judge(readings).await?,
            }
            self.position = stretch.last().map_or(self.position, |event| event.position);
        }
        self.append().await
    }

    async fn judge(&mut self, readings: &[Arc<RawEvent>]) -> Result<(), Interrupted> {
        let users = readings.iter().map(|event| halves(event.stream.key()).0).collect();
        self.rulebook.learn(self.store, &users, self.position).await?;
        let watched: HashSet<&str> =
            users.into_iter().filter(|user| self.rulebook.concerns(user)).collect();
        if watched.is_empty() {
            return Ok(());
        }
        let readings = readings.iter().filter(|event| {
            let (user_id, _) = halves(event.stream.key());
            watched.contains(user_id) && !self.parked.contains(&event.stream)
        });
        let keys = readings.clone().map(|event| event.stream.key()).collect();
        self.watches.fetch(self.store.pool(), &self.rulebook, &keys).await?;
        let mut outcomes = Vec::new();
        let mut unreadable: Vec<(&Arc<RawEvent>, String)> = Vec::new();
        for raw in readings {
            let key = raw.stream.key();
            let waits = unreadable.iter().any(|(first, _)| first.stream == raw.stream);
            if waits || self.parked.skips(raw.position) || !self.watches.concerns(key) {
                continue;
            }
            match serde_json::from_str::<Reading>(&raw.data) {
                Ok(reading) => {
                    if let Some(watch) = self.watches.change(key) {
                        watch.evaluate(cause(raw), &reading, &mut outcomes);
                    }
                }
                Err(error) => unreadable.push((raw, error.to_string())),
            }
            follow(&mut self.following, raw, &mut outcomes)?;
        }
        for (raw, error) in unreadable {
            self.park(raw, &error).await?;
        }
        Ok(())
    }

    /// Somebody's rules change: every device they may concern follows them from here on, those in
    /// memory and those that are not.
    async fn change(&mut self, raw: &RawEvent) -> Result<(), Interrupted> {
        let scope = Scope::of_stream(&raw.stream);
        let RulesEvent::RulesConfigured(configured) = raw.event().map_err(LoadError::Codec)?;
        let instead = Some((&scope, raw.version.0, &configured.config));
        let prefix = match &scope {
            Scope::Everybody => String::new(),
            Scope::User(user_id) => format!("{user_id}~"),
        };
        // What is parked stays as it is: it follows these rules when it has come here.
        let mut held = self.watches.keys(&prefix);
        held.retain(|key| !is_parked(&self.parked, key));
        let users = held.iter().map(|key| halves(key).0).collect();
        self.rulebook.learn(self.store, &users, self.position).await?;
        let mut outcomes = Vec::new();
        for key in held {
            let (user_id, device_id) = halves(&key);
            let rules = self.rulebook.in_force(user_id, device_id, instead);
            if let Some(watch) = self.watches.change(&key) {
                watch.change_rules(cause(raw), rules, &mut outcomes);
            }
        }
        follow(&mut self.following, raw, &mut outcomes)?;
        let mut after = String::new();
        loop {
            let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
            let pool = self.store.pool();
            let page = snapshot::page(pool, SNAPSHOTS, &prefix, &after, limit).await?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            let users = page.iter().map(|(key, _)| halves(key).0).collect();
            self.rulebook.learn(self.store, &users, self.position).await?;
            let mut states = Vec::new();
            let others = page.iter().filter(|(key, _)| !self.watches.holds(key));
            for (key, state) in others.filter(|(key, _)| !is_parked(&self.parked, key)) {
                let mut watch = restore(&self.rulebook, key, state)?;
                let (user_id, device_id) = halves(key);
                let rules = self.rulebook.in_force(user_id, device_id, instead);
                watch.change_rules(cause(raw), rules, &mut outcomes);
                states.push((key.as_str(), watch.store()));
            }
            follow(&mut self.following, raw, &mut outcomes)?;
            // Each says how far it has come, so they may be ahead of the checkpoint; but never of
            // what follows from them.
            self.append().await?;
            let mut connection = self.store.pool().acquire().await?;
            snapshot::save(&mut connection, SNAPSHOTS, &states).await?;
        }
        Ok(self.rulebook.put(scope, raw)?)
    }

    /// Appends what follows, in order.
    async fn append(&mut self) -> Result<(), Interrupted> {
        let mut following = std::mem::take(&mut self.following).into_iter().peekable();
        while following.peek().is_some() {
            let mut alerts = HashSet::new();
            let mut requests = Vec::new();
            while let Some(next) = following
                .next_if(|next| requests.len() < AT_ONCE && alerts.insert(next.outcome.alert_id))
            {
                requests.push(self.store.append(request(next)?));
            }
            try_join_all(requests).await?;
        }
        Ok(())
    }

    /// Saves what is remembered, and how far it reaches.
    async fn save(
        &mut self,
        from: Position,
        recorded_at: Option<chrono::DateTime<chrono::Utc>>,
    ) -> Result<(), Interrupted> {
        let mut transaction = self.store.pool().begin().await?;
        self.watches.save(&mut transaction).await?;
        let name = Watcher::NAME;
        let to = self.position;
        if !Checkpoint::advance(&mut transaction, name, from, to, recorded_at).await? {
            return Err(Interrupted::Fenced);
        }
        transaction.commit().await?;
        self.watches.saved();
        Ok(())
    }

    /// A reading that cannot be read stops its device, and nothing else.
    async fn park(&mut self, raw: &RawEvent, error: &str) -> Result<(), Interrupted> {
        let suspect = Suspect::from(raw);
        let mut connection = self.store.pool().acquire().await?;
        parked::count(&mut connection, Watcher::NAME, &suspect, error).await?;
        parked::park(&mut connection, Watcher::NAME, &suspect).await?;
        self.parked.insert(raw.stream.clone(), raw.position);
        Ok(())
    }
}

/// Whether a device is set aside.
fn is_parked(parked: &Parked, key: &str) -> bool {
    parked.contains(&StreamId::new(DEVICE, key))
}

fn is_reading(event: &RawEvent) -> bool {
    *event.event_type == *READING
}

fn cause(raw: &RawEvent) -> Cause {
    Cause { position: raw.position, id: raw.id, recorded_at: raw.recorded_at }
}

/// Keeps what follows from `raw`, in the same trace.
fn follow(
    following: &mut Vec<Following>,
    raw: &RawEvent,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), LoadError> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let around = raw.metadata()?;
    following.extend(outcomes.drain(..).map(|outcome| Following {
        metadata: Metadata {
            correlation_id: around.correlation_id.or(Some(raw.id)),
            causation_id: Some(outcome.cause),
            actor: Some(Watcher::NAME.to_owned()),
            traceparent: around.traceparent.clone(),
        },
        outcome,
    }));
    Ok(())
}

fn request(Following { outcome, metadata }: Following) -> Result<Append, AppendError> {
    let event = NewEvent::with_id(outcome.event_id, &outcome.event)?;
    let stream = alert_stream(outcome.alert_id);
    Ok(Append::to(stream, ExpectedVersion::Any, vec![event]).metadata(metadata))
}
