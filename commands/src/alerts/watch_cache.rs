//! State of the devices that alert rules are evaluated for: in memory while they report, and in
//! snapshots from which the evaluator restarts.

use std::collections::{HashMap, HashSet};

use domain::alerts::{Outcome, Watch};
use eventstore::snapshot;
use sqlx::{PgConnection, PgPool};

use super::rulebook::Rulebook;

/// Name of the snapshots. To be changed together with their format: all devices are then evaluated
/// again from the start of the log.
pub(super) const SNAPSHOTS: &str = "alert_watch.v1";

/// Most devices in memory. When there are more, all are removed after a commit and loaded again.
const MAX_WATCHES: usize = 50_000;
/// Snapshots read at once when rules change.
pub(super) const PAGE: usize = 1_000;

/// Watches by the key of the device's stream: `user~device`.
#[derive(Debug, Default)]
pub(super) struct WatchCache {
    held: HashMap<Box<str>, Watch>,
    /// Keys of those that are ahead of their snapshot.
    changed: HashSet<Box<str>>,
}

/// User and device of a device's key.
pub(super) fn halves(key: &str) -> (&str, &str) {
    key.split_once('~').unwrap_or((key, ""))
}

impl WatchCache {
    /// Loads those of `keys` that are not in memory. Returns those whose snapshot cannot be decoded, each
    /// with the reason.
    pub(super) async fn fetch(
        &mut self,
        pool: &PgPool,
        rulebook: &Rulebook,
        keys: &HashSet<&str>,
    ) -> Result<HashMap<Box<str>, String>, sqlx::Error> {
        let mut undecodable = HashMap::new();
        let missing: Vec<&str> =
            keys.iter().copied().filter(|key| !self.held.contains_key(*key)).collect();
        if missing.is_empty() {
            return Ok(undecodable);
        }
        let stored: HashMap<_, _> =
            snapshot::load(pool, SNAPSHOTS, &missing).await?.into_iter().collect();
        for key in missing {
            let watch = if let Some(state) = stored.get(key) {
                match restore(rulebook, key, state) {
                    Ok(watch) => watch,
                    Err(error) => {
                        undecodable.insert(key.into(), error);
                        continue;
                    }
                }
            } else {
                let (user_id, device_id) = halves(key);
                Watch::new(user_id, device_id, rulebook.in_force(user_id, device_id, None))
            };
            self.held.insert(key.into(), watch);
        }
        Ok(undecodable)
    }

    /// The watch of a device, marked as changed since its snapshot.
    pub(super) fn change(&mut self, key: &str) -> Option<&mut Watch> {
        let watch = self.held.get_mut(key)?;
        if !self.changed.contains(key) {
            self.changed.insert(key.into());
        }
        Some(watch)
    }

    /// Whether rules are in force for a device.
    pub(super) fn has_rules(&self, key: &str) -> bool {
        self.held.get(key).is_some_and(Watch::has_rules)
    }

    /// The state of a device as its snapshot would hold it; none if it is not in memory.
    pub(super) fn store(&self, key: &str) -> Option<String> {
        self.held.get(key).map(Watch::store)
    }

    /// Replaces the watch of a device, marked as changed since its snapshot.
    pub(super) fn insert(&mut self, key: &str, watch: Watch) {
        self.held.insert(key.into(), watch);
        self.changed.insert(key.into());
    }

    /// Keys in memory that begin with `prefix`.
    pub(super) fn keys(&self, prefix: &str) -> Vec<Box<str>> {
        self.held.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// Whether a device is in memory.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.held.contains_key(key)
    }

    /// Saves what changed. To be followed by [`WatchCache::saved`] after the commit.
    pub(super) async fn save(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut states: Vec<_> = self
            .changed
            .iter()
            .filter_map(|key| Some((&**key, self.held.get(key)?.store())))
            .collect();
        states.sort_unstable(); // Two processes that save at once lock rows in the same order.
        snapshot::save(connection, SNAPSHOTS, &states).await
    }

    /// Marks all devices as saved.
    pub(super) fn saved(&mut self) {
        self.changed.clear();
        if self.held.len() > MAX_WATCHES {
            self.held.clear();
        }
    }
}

/// Restores a watch from its snapshot, or returns why the snapshot cannot be decoded.
pub(super) fn restore(rulebook: &Rulebook, key: &str, state: &str) -> Result<Watch, String> {
    let (user_id, device_id) = halves(key);
    let rules = rulebook.in_force(user_id, device_id, None);
    Watch::restore(user_id, device_id, rules, state)
        .map_err(|error| format!("cannot decode the snapshot {SNAPSHOTS} of device {key}: {error}"))
}

/// An event of an alert to be appended.
#[derive(Debug)]
pub(super) struct Following {
    /// The event, with the id it always has.
    pub(super) outcome: Outcome,
    /// Metadata of the event.
    pub(super) metadata: eventsourcing::Metadata,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_of_the_snapshots_never_changes() {
        assert_eq!(super::SNAPSHOTS, "alert_watch.v1");
    }
}
