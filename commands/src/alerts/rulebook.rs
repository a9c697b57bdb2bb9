//! The rules of every scope as of one position of the log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use domain::alerts::{Config, EffectiveRule, RulesEvent, Scope, rules_stream};
use eventsourcing::{Position, StreamId, Version};
use eventstore::{EventStore, RawEvent};

use crate::error::LoadError;

/// Most scopes in memory, with or without rules. Beyond that all are dropped and loaded again.
const MAX_USERS: usize = 100_000;

/// A config and its version; `None` if the scope was never configured.
type Known = Option<(i64, Arc<Config>)>;

/// Changes of rules read at once.
const PAGE: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Rulebook {
    known: HashMap<Scope, Known>,
}

/// Scope, version and rules that replace the loaded rules of the scope.
pub(super) type Instead<'a> = (&'a Scope, i64, &'a Config);

impl Rulebook {
    /// Loads the rules of `users`, and those for everybody, as of `until`, unless they are loaded.
    pub(super) async fn learn(
        &mut self,
        store: &EventStore,
        users: &HashSet<&str>,
        until: Position,
    ) -> Result<(), LoadError> {
        if self.known.len() > MAX_USERS {
            self.known.clear();
        }
        let users = users.iter().map(|&user| Scope::User(user.into()));
        let unknown: Vec<Scope> = users
            .chain([Scope::Everybody])
            .filter(|scope| !self.known.contains_key(scope))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let streams: Vec<StreamId> = unknown.iter().map(rules_stream).collect();
        let found = store.last_of_streams(&streams, until).await?;
        self.known.extend(unknown.into_iter().map(|scope| (scope, None)));
        for raw in found {
            let scope = Scope::of_stream(&raw.stream);
            if self.put(scope.clone(), &raw).is_err()
                && let Some(earlier) = last_decodable(store, &raw.stream, until).await?
            {
                // The later one is parked, and the rules before it are in force.
                self.put(scope, &earlier)?;
            }
        }
        Ok(())
    }

    /// Version of the rules of `scope` that are loaded; 0 if there are none.
    pub(super) fn version(&self, scope: &Scope) -> i64 {
        self.known.get(scope).and_then(Option::as_ref).map_or(0, |(version, _)| *version)
    }

    /// Replaces the rules of `scope` by those of this event.
    pub(super) fn put(&mut self, scope: Scope, raw: &RawEvent) -> Result<(), LoadError> {
        let RulesEvent::RulesConfigured(configured) = raw.event()?;
        self.known.insert(scope, Some((raw.version.0, Arc::new(configured.config))));
        Ok(())
    }

    /// Whether any rule may apply to the devices of `user_id`.
    pub(super) fn concerns(&self, user_id: &str) -> bool {
        let has = |scope: &Scope| {
            let known = self.known.get(scope).and_then(Option::as_ref);
            known.is_some_and(|(_, config)| config.all().next().is_some())
        };
        has(&Scope::Everybody) || has(&Scope::User(user_id.into()))
    }

    /// The rules that apply to a device.
    pub(super) fn in_force(
        &self,
        user_id: &str,
        device_id: &str,
        instead: Option<Instead<'_>>,
    ) -> Arc<[EffectiveRule]> {
        let configs: Vec<(Scope, i64, &Config)> = [Scope::Everybody, Scope::User(user_id.into())]
            .into_iter()
            .filter_map(|scope| match instead {
                Some((other, version, config)) if *other == scope => Some((scope, version, config)),
                _ => {
                    let (version, config) = self.known.get(&scope)?.as_ref()?;
                    Some((scope, *version, &**config))
                }
            })
            .collect();
        EffectiveRule::select(&configs, device_id).into()
    }
}

/// Returns the last change of rules in `stream` up to `until` that can be decoded.
async fn last_decodable(
    store: &EventStore,
    stream: &StreamId,
    until: Position,
) -> Result<Option<RawEvent>, LoadError> {
    let (mut found, mut version) = (None, Version::NONE);
    loop {
        let page = store.read_stream(stream, version, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        version = last.version;
        let decodable = |raw: &RawEvent| raw.position <= until && raw.event::<RulesEvent>().is_ok();
        found = page.into_iter().rfind(decodable).or(found);
    }
}
