//! Retries a parked device: its readings from the one that failed to the checkpoint are evaluated,
//! each by the rules that were in force then, so that the alerts are those it would have had. Retries
//! a parked change of rules: it takes effect now, unless a later one has replaced it.

use std::collections::HashSet;
use std::sync::Arc;

use domain::alerts::{Cause, Reading, Scope, Watch, rules_stream};
use eventsourcing::{Position, StreamId};
use eventstore::consume::{ConsumeError, Failed, StreamReader};
use eventstore::parked::Parked;
use eventstore::{Filter, Page, RawEvent, Unavailable, snapshot};

use super::{DEVICE, Evaluator, cause, evaluate, follow, is_reading};
use crate::alerts::rulebook::Rulebook;
use crate::alerts::watch_cache::{SNAPSHOTS, halves, restore};

/// Changes of rules read at once.
const RULES: usize = 500;

/// Reads the next readings of a parked device, with the changes of rules between them.
pub(super) async fn readings_and_rules(reader: &mut StreamReader) -> Result<Page, Unavailable> {
    let mut page = reader.next().await?;
    page.events.retain(is_reading);
    let (user_id, _) = halves(reader.stream.key());
    for scope in [Scope::Everybody, Scope::User(user_id.into())] {
        let filter = Filter { stream: Some(rules_stream(&scope)), ..Filter::default() };
        let mut at = reader.after;
        while at < page.through {
            let changes = reader.store.read(at, page.through, &filter, RULES).await?;
            page.events.extend(changes.events);
            at = changes.through;
        }
    }
    page.events.sort_unstable_by_key(|event| event.position);
    Ok(page)
}

impl Evaluator {
    /// Evaluates `events` after `after` for the parked device of `stream`, up to the first that cannot
    /// be decoded.
    pub(super) async fn retry_device(
        &mut self,
        stream: &StreamId,
        after: Position,
        events: &[Arc<RawEvent>],
    ) -> Result<Vec<Failed>, ConsumeError> {
        let key = stream.key();
        let (user_id, device_id) = halves(key);
        let mut rulebook = Rulebook::default();
        rulebook.learn(&self.store, &HashSet::from([user_id]), after).await?;
        let stored = if let Some(state) = self.watches.store(key) {
            Some(state)
        } else {
            let found = snapshot::load(self.store.pool(), SNAPSHOTS, &[key]).await?;
            found.into_iter().next().map(|(_, state)| state)
        };
        let mut watch = match stored {
            Some(state) => match restore(&rulebook, key, &state) {
                Ok(watch) => watch,
                Err(error) => {
                    let failed = |event: &Arc<RawEvent>| Failed {
                        key: stream.clone(),
                        position: event.position,
                        error,
                    };
                    return Ok(events.first().map(failed).into_iter().collect());
                }
            },
            None => Watch::new(user_id, device_id, rulebook.in_force(user_id, device_id, None)),
        };
        let mut outcomes = Vec::new();
        let mut failed = Vec::new();
        for raw in events {
            if *raw.stream.category() == *DEVICE {
                match serde_json::from_str::<Reading>(&raw.data) {
                    Ok(reading) => evaluate(&mut watch, raw, &reading, &mut outcomes),
                    Err(error) => {
                        failed.push(Failed::undecodable(raw, &error));
                        break;
                    }
                }
            } else if rulebook.put(Scope::of_stream(&raw.stream), raw).is_ok() {
                let rules = rulebook.in_force(user_id, device_id, None);
                watch.change_rules(cause(raw), rules, &mut outcomes);
            }
            follow(&mut self.following, raw, &mut outcomes);
        }
        self.append().await?;
        self.watches.insert(key, watch);
        Ok(failed)
    }

    /// Applies parked changes of rules, of which no later one is in force.
    pub(super) async fn retry_rules(
        &mut self,
        events: &[Arc<RawEvent>],
        parked: &Parked,
    ) -> Result<Vec<Failed>, ConsumeError> {
        for raw in events {
            let scope = Scope::of_stream(&raw.stream);
            let users = match &scope {
                Scope::User(user_id) => HashSet::from([&**user_id]),
                Scope::Everybody => HashSet::new(),
            };
            self.rulebook.learn(&self.store, &users, self.position).await?;
            if self.rulebook.version(&scope) > raw.version.0 {
                continue;
            }
            // Devices have been evaluated beyond the event; the rules change for them now.
            let cause = Cause { position: self.position, ..cause(raw) };
            self.change_rules(raw, cause, parked).await?;
        }
        self.append().await?;
        Ok(self.failed.drain().map(|(_, failed)| failed).collect())
    }
}
