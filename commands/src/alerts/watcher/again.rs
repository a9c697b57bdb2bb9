//! A parked device is watched again: its readings from where it stopped to the checkpoint are
//! folded, each by the rules that were in force then, so that the alerts are those it would have had.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::alerts::{Outcome, Reading, Scope, Watch, rules_stream};
use eventsourcing::{Position, Version};
use eventstore::parked::{self, Parked, Retry};
use eventstore::{Filter, RawEvent, snapshot};
use tokio::time::Instant;

use super::{Fold, Interrupted, Watcher, cause, follow, is_reading};
use crate::alerts::rulebook::Rulebook;
use crate::alerts::watches::{SNAPSHOTS, halves, restore};
use crate::handler::LoadError;

/// Events of the device folded at once.
const STRETCH: usize = 500;
/// How long everything else waits for it at one time.
const TURN: Duration = Duration::from_secs(1);

/// A device on its way back.
struct Back<'a> {
    user_id: &'a str,
    device_id: &'a str,
    /// The rules as they were at the event that is folded next.
    rulebook: Rulebook,
    watch: Watch,
}

impl Fold<'_> {
    /// Tries what is asked for, for a turn each. What is remembered has just been saved.
    pub(super) async fn retry(&mut self) -> Result<(), Interrupted> {
        let streams = parked::requested(self.store.pool(), Watcher::NAME).await?;
        for stream in streams {
            self.parked = Parked::load(self.store.pool(), Watcher::NAME).await?;
            if let Some(retry) = parked::begin(self.store.pool(), Watcher::NAME, &stream).await? {
                self.go_on(retry).await?;
            }
            self.parked = Parked::load(self.store.pool(), Watcher::NAME).await?;
        }
        Ok(())
    }

    async fn go_on(&mut self, mut retry: Retry) -> Result<(), Interrupted> {
        let begun = Instant::now();
        let stream = retry.stream.clone();
        let before = Position(retry.position.0 - 1);
        let last = self.store.last_of_streams(std::slice::from_ref(&stream), before).await?;
        let mut version = last.first().map_or(Version::NONE, |event| event.version);
        let mut back = self.bring_back(stream.key(), before).await?;
        loop {
            let after = Position(retry.position.0 - 1);
            let mut events = self.store.read_stream(&stream, version, STRETCH).await?;
            let mut done = events.is_empty();
            if let Some(beyond) = events.iter().position(|event| event.position > self.position) {
                events.truncate(beyond);
                done = true;
            }
            version = events.last().map_or(version, |event| event.version);
            let through = match events.last() {
                Some(last) if !done => last.position,
                _ => self.position,
            };
            for scope in [Scope::Everybody, Scope::User(back.user_id.into())] {
                events.extend(self.rules(&scope, after, through).await?);
            }
            events.sort_unstable_by_key(|event| event.position);
            let failed = self.fold(&mut back, &events)?;
            self.append().await?;
            let state = [(stream.key(), back.watch.store())];
            let mut transaction = self.store.pool().begin().await?;
            if !parked::lock(&mut transaction, Watcher::NAME, &retry).await? {
                return Err(Interrupted::Fenced);
            }
            snapshot::save(&mut transaction, SNAPSHOTS, &state).await?;
            let next = Position(through.0 + 1);
            let (name, checkpoint) = (Watcher::NAME, self.position);
            if let Some((position, error)) = &failed {
                parked::again(&mut transaction, name, &retry, *position, error).await?;
            } else if !done {
                parked::progress(&mut transaction, name, &retry, next).await?;
            } else if !parked::finish(&mut transaction, name, &retry, checkpoint).await? {
                return Err(Interrupted::Fenced);
            }
            transaction.commit().await?;
            self.watches.forget(stream.key());
            retry.position = next;
            if done || failed.is_some() || begun.elapsed() > TURN {
                return Ok(());
            }
        }
    }

    /// The device as it was when it was set aside, at `before`.
    async fn bring_back<'k>(
        &self,
        key: &'k str,
        before: Position,
    ) -> Result<Back<'k>, Interrupted> {
        let (user_id, device_id) = halves(key);
        let mut rulebook = Rulebook::default();
        rulebook.learn(self.store, &HashSet::from([user_id]), before).await?;
        let stored = if let Some(state) = self.watches.store(key) {
            Some(state)
        } else {
            let found = snapshot::load(self.store.pool(), SNAPSHOTS, &[key]).await?;
            found.into_iter().next().map(|(_, state)| state)
        };
        let watch = match stored {
            Some(state) => restore(&rulebook, key, &state)?,
            None => Watch::new(user_id, device_id, rulebook.in_force(user_id, device_id, None)),
        };
        Ok(Back { user_id, device_id, rulebook, watch })
    }

    /// How the rules of `scope` changed after `after`, up to `through`.
    async fn rules(
        &self,
        scope: &Scope,
        after: Position,
        through: Position,
    ) -> Result<Vec<RawEvent>, Interrupted> {
        let filter = Filter { stream: Some(rules_stream(scope)), ..Filter::default() };
        let mut changes = Vec::new();
        let mut at = after;
        while at < through {
            let page = self.store.read(at, through, &filter, STRETCH).await?;
            changes.extend(page.events);
            at = page.through;
        }
        Ok(changes)
    }

    /// Folds `events`; says where one of them cannot be read, and why.
    fn fold(
        &mut self,
        back: &mut Back<'_>,
        events: &[RawEvent],
    ) -> Result<Option<(Position, String)>, LoadError> {
        let mut outcomes: Vec<Outcome> = Vec::new();
        for raw in events.iter().filter(|raw| !self.parked.skips(raw.position)) {
            if *raw.stream.category() == *super::DEVICE {
                if !is_reading(raw) {
                    continue;
                }
                match serde_json::from_str::<Reading>(&raw.data) {
                    Ok(reading) => back.watch.evaluate(cause(raw), &reading, &mut outcomes),
                    Err(error) => return Ok(Some((raw.position, error.to_string()))),
                }
            } else {
                back.rulebook.put(Scope::of_stream(&raw.stream), raw)?;
                let rules: Arc<[_]> = back.rulebook.in_force(back.user_id, back.device_id, None);
                back.watch.change_rules(cause(raw), rules, &mut outcomes);
            }
            follow(&mut self.following, raw, &mut outcomes)?;
        }
        Ok(None)
    }
}
