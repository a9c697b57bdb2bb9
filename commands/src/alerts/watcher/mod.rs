//! The alert evaluator: folds readings and rules, in the order of the log, and appends the alerts
//! that follow. Ids of alerts are derived from the events that led to them, so evaluating twice,
//! after a crash or in two processes, appends nothing twice. The state of each device is saved
//! together with the checkpoint.

mod retry;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::alerts::{
    Cause, Outcome, READING, Reading, RulesEvent, Scope, Watch, alert_stream, rules_stream,
};
use eventsourcing::{Metadata, Position, StreamId};
use eventstore::consume::{
    self, ConsumeError, Consumer, Failed, Session, StreamReader, single_event,
};
use eventstore::parked::Parked;
use eventstore::{
    Append, AppendError, ErrorChain, EventStore, ExpectedVersion, Feed, Filter, NewEvent, Page,
    RawEvent, Unavailable, snapshot,
};
use futures::future::try_join_all;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::rulebook::Rulebook;
use super::watch_cache::{Following, PAGE, SNAPSHOTS, WatchCache, halves, restore};

/// Stream category of devices, whose readings are evaluated.
const DEVICE: &str = "device";
/// Schema version of the readings that this build can decode.
const READING_VERSION: i16 = 1;
/// Alerts appended at once; events of one alert are appended in order.
const APPENDS_AT_ONCE: usize = 256;

/// Evaluates the alert rules of all devices.
#[derive(Debug)]
pub struct Watcher {
    store: EventStore,
    feed: Feed,
}

impl Watcher {
    /// Name of the consumer, and of the lease of the process that evaluates.
    pub const NAME: &'static str = "alert_watch";

    /// An evaluator that reads `feed` and appends to `store`.
    pub fn new(store: EventStore, feed: Feed) -> Self {
        Self { store, feed }
    }

    /// Evaluates until `shutdown`, while no other process does.
    pub async fn run(&self, shutdown: &CancellationToken) {
        let mut evaluator = Evaluator::new(self.store.clone(), Position::START);
        consume::run(&mut evaluator, &self.store, &self.feed, shutdown).await;
    }
}

/// The state of the evaluation at one position of the log.
struct Evaluator {
    store: EventStore,
    rulebook: Rulebook,
    watches: WatchCache,
    /// Everything up to here is evaluated.
    position: Position,
    /// Events of alerts, not yet appended.
    following: Vec<Following>,
    /// Events of the batch that cannot be handled, by key: the first of each device, and each change of
    /// rules.
    failed: HashMap<StreamId, Failed>,
}

impl Consumer for Evaluator {
    const NAME: &'static str = Watcher::NAME;
    const BATCH_EVENTS: usize = 4_096;
    const HEARTBEAT: Duration = Duration::from_secs(1);
    const LEASE: Option<Duration> = Some(Duration::from_secs(5));
    /// A commit saves every device that changed.
    const COMMITS_AT_HEARTBEAT: bool = true;

    fn filter(&self) -> Filter {
        Filter {
            event_types: vec![READING.to_owned(), "rules_configured".to_owned()],
            ..Filter::categories(&[DEVICE, rules_stream(&Scope::Everybody).category()])
        }
    }

    fn knows(&self, event: &RawEvent) -> bool {
        if is_reading(event) {
            event.schema_version <= READING_VERSION
        } else {
            event.is_known::<RulesEvent>()
        }
    }

    /// Rules replace those before them, so a change that cannot be decoded is parked alone.
    fn key<'e>(&self, event: &'e RawEvent) -> Cow<'e, StreamId> {
        if is_reading(event) {
            Cow::Borrowed(&event.stream)
        } else {
            Cow::Owned(single_event(event))
        }
    }

    async fn open(
        &mut self,
        store: &EventStore,
        position: Position,
    ) -> Result<Session, ConsumeError> {
        *self = Self::new(store.clone(), position);
        Ok(Session::Pool(store.pool().clone()))
    }

    async fn handle(
        &mut self,
        events: &[Arc<RawEvent>],
        parked: &Parked,
    ) -> Result<Vec<Failed>, ConsumeError> {
        // Rules change between readings, seldom.
        for stretch in events.chunk_by(|one, next| is_reading(one) && is_reading(next)) {
            match stretch {
                [rules] if !is_reading(rules) => {
                    self.change_rules(rules, cause(rules), parked).await?;
                }
                readings => self.evaluate(readings).await?,
            }
            self.position = stretch.last().map_or(self.position, |event| event.position);
        }
        self.append().await?;
        Ok(self.failed.drain().map(|(_, failed)| failed).collect())
    }

    async fn commit(&mut self, connection: &mut PgConnection) -> Result<(), ConsumeError> {
        Ok(self.watches.save(connection).await?)
    }

    fn committed(&mut self, _: Position) {
        self.watches.saved();
    }

    async fn read_parked(&self, reader: &mut StreamReader) -> Result<Page, Unavailable> {
        if *reader.stream.category() == *DEVICE {
            retry::readings_and_rules(reader).await
        } else {
            reader.next().await
        }
    }

    async fn retry(
        &mut self,
        stream: &StreamId,
        after: Position,
        events: &[Arc<RawEvent>],
        parked: &Parked,
    ) -> Result<Vec<Failed>, ConsumeError> {
        if *stream.category() == *DEVICE {
            return self.retry_device(stream, after, events).await;
        }
        self.retry_rules(events, parked).await
    }
}

impl Evaluator {
    fn new(store: EventStore, position: Position) -> Self {
        Self {
            store,
            rulebook: Rulebook::default(),
            watches: WatchCache::default(),
            position,
            following: Vec::new(),
            failed: HashMap::new(),
        }
    }

    /// Evaluates readings between two changes of rules.
    async fn evaluate(&mut self, readings: &[Arc<RawEvent>]) -> Result<(), ConsumeError> {
        let users = readings.iter().map(|event| halves(event.stream.key()).0).collect();
        self.rulebook.learn(&self.store, &users, self.position).await?;
        let watched: HashSet<&str> =
            users.into_iter().filter(|user| self.rulebook.concerns(user)).collect();
        if watched.is_empty() {
            return Ok(());
        }
        let readings =
            readings.iter().filter(|event| watched.contains(halves(event.stream.key()).0));
        let keys = readings.clone().map(|event| event.stream.key()).collect();
        let undecodable = self.watches.fetch(self.store.pool(), &self.rulebook, &keys).await?;
        let mut outcomes = Vec::new();
        for raw in readings {
            let key = raw.stream.key();
            if self.failed.contains_key(&raw.stream) {
                continue;
            }
            if let Some(error) = undecodable.get(key) {
                self.fail_device(key, raw, error);
                continue;
            }
            if !self.watches.has_rules(key) {
                continue;
            }
            match serde_json::from_str::<Reading>(&raw.data) {
                Ok(reading) => {
                    if let Some(watch) = self.watches.change(key) {
                        evaluate(watch, raw, &reading, &mut outcomes);
                    }
                }
                Err(error) => {
                    self.failed.insert(raw.stream.clone(), Failed::undecodable(raw, &error));
                }
            }
            follow(&mut self.following, raw, &mut outcomes);
        }
        Ok(())
    }

    /// Parks a device at the event `raw` with the next commit.
    fn fail_device(&mut self, key: &str, raw: &RawEvent, error: &str) {
        let key = StreamId::new(DEVICE, key);
        let failed = Failed { key: key.clone(), position: raw.position, error: error.to_owned() };
        self.failed.entry(key).or_insert(failed);
    }

    /// Applies a change of rules to every device it may concern, in memory or not.
    async fn change_rules(
        &mut self,
        raw: &RawEvent,
        cause: Cause,
        parked: &Parked,
    ) -> Result<(), ConsumeError> {
        let scope = Scope::of_stream(&raw.stream);
        let configured = match raw.event() {
            Ok(RulesEvent::RulesConfigured(configured)) => configured,
            Err(error) => {
                let key = single_event(raw);
                let failed = Failed { key: key.clone(), ..Failed::undecodable(raw, &error) };
                self.failed.insert(key, failed);
                return Ok(());
            }
        };
        let instead = Some((&scope, raw.version.0, &configured.config));
        let prefix = match &scope {
            Scope::Everybody => String::new(),
            Scope::User(user_id) => format!("{user_id}~"),
        };
        // A parked device stays as it is: its retry comes to these rules.
        let waits = |failed: &HashMap<StreamId, Failed>, key: &str| {
            let stream = StreamId::new(DEVICE, key);
            parked.contains(&stream) || failed.contains_key(&stream)
        };
        let mut held = self.watches.keys(&prefix);
        held.retain(|key| !waits(&self.failed, key));
        let users = held.iter().map(|key| halves(key).0).collect();
        self.rulebook.learn(&self.store, &users, self.position).await?;
        let mut outcomes = Vec::new();
        for key in held {
            let (user_id, device_id) = halves(&key);
            let rules = self.rulebook.in_force(user_id, device_id, instead);
            if let Some(watch) = self.watches.change(&key) {
                watch.change_rules(cause, rules, &mut outcomes);
            }
        }
        follow(&mut self.following, raw, &mut outcomes);
        let mut after = String::new();
        loop {
            let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
            let pool = self.store.pool();
            let page = snapshot::page(pool, SNAPSHOTS, &prefix, &after, limit).await?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            let users = page.iter().map(|(key, _)| halves(key).0).collect();
            self.rulebook.learn(&self.store, &users, self.position).await?;
            let mut states = Vec::new();
            for (key, state) in &page {
                if self.watches.holds(key) || waits(&self.failed, key) {
                    continue;
                }
                let mut watch = match restore(&self.rulebook, key, state) {
                    Ok(watch) => watch,
                    Err(error) => {
                        self.fail_device(key, raw, &error);
                        continue;
                    }
                };
                let (user_id, device_id) = halves(key);
                let rules = self.rulebook.in_force(user_id, device_id, instead);
                watch.change_rules(cause, rules, &mut outcomes);
                states.push((key.as_str(), watch.store()));
            }
            follow(&mut self.following, raw, &mut outcomes);
            // Each snapshot holds its own position, so snapshots may be ahead of the checkpoint; but
            // never ahead of the alerts that follow.
            self.append().await?;
            let mut connection = self.store.pool().acquire().await?;
            snapshot::save(&mut connection, SNAPSHOTS, &states).await?;
        }
        Ok(self.rulebook.put(scope, raw)?)
    }

    /// Appends the events of alerts, in order.
    async fn append(&mut self) -> Result<(), ConsumeError> {
        let mut following = std::mem::take(&mut self.following).into_iter().peekable();
        while following.peek().is_some() {
            let mut alerts = HashSet::new();
            let mut requests = Vec::new();
            while let Some(next) = following.next_if(|next| {
                requests.len() < APPENDS_AT_ONCE && alerts.insert(next.outcome.alert_id)
            }) {
                requests.push(self.store.append(request(next)?));
            }
            try_join_all(requests).await?;
        }
        Ok(())
    }
}

fn is_reading(event: &RawEvent) -> bool {
    *event.event_type == *READING
}

fn cause(raw: &RawEvent) -> Cause {
    Cause { position: raw.position, id: raw.id, recorded_at: raw.recorded_at }
}

/// Evaluates a reading. Counts it if it is older than one that was evaluated before: it is not judged.
fn evaluate(watch: &mut Watch, raw: &RawEvent, reading: &Reading, outcomes: &mut Vec<Outcome>) {
    if watch.evaluate(cause(raw), reading, outcomes) {
        metrics::counter!("tributary_alert_readings_late_total").increment(1);
    }
}

/// Adds the outcomes of `raw` to what is to be appended, in its correlation and trace.
fn follow(following: &mut Vec<Following>, raw: &RawEvent, outcomes: &mut Vec<Outcome>) {
    if outcomes.is_empty() {
        return;
    }
    let metadata = raw.metadata().unwrap_or_else(|error| {
        let (position, error) = (raw.position, ErrorChain(&error));
        tracing::warn!(%position, %error, "metadata not decodable, alert appended without its trace");
        Metadata::default()
    });
    let suppressed = outcomes.iter().filter(|outcome| outcome.is_suppression()).count();
    metrics::counter!("tributary_alerts_suppressed_total").increment(suppressed as u64);
    following.extend(outcomes.drain(..).map(|outcome| Following {
        metadata: Metadata {
            correlation_id: metadata.correlation_id.or(Some(raw.id)),
            causation_id: Some(outcome.cause),
            actor: Some(Watcher::NAME.to_owned()),
            traceparent: metadata.traceparent.clone(),
        },
        outcome,
    }));
}

fn request(Following { outcome, metadata }: Following) -> Result<Append, AppendError> {
    let event = NewEvent::with_id(outcome.event_id, &outcome.event)?;
    let stream = alert_stream(outcome.alert_id);
    Ok(Append::to(stream, ExpectedVersion::Any, vec![event]).metadata(metadata))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_version_of_readings_is_that_of_telemetry() {
        let version = (super::READING, super::READING_VERSION);
        let mut types =
            domain::CONTEXTS.iter().flat_map(|context| context.events).copied().flatten();
        assert!(types.any(|known| *known == version));
    }
}
