//! The devices under watch: in memory while they report, in snapshots for when we start again.

use std::collections::{HashMap, HashSet};

use domain::alerts::{Outcome, Watch};
use eventstore::snapshot;
use sqlx::{PgConnection, PgPool};

use super::rulebook::Rulebook;

/// Name of the snapshots. What a watch remembers changes its form: so does the name, and all are
/// folded again from the beginning.
pub(super) const SNAPSHOTS: &str = "alert_watch.v1";

/// Devices held in memory. Beyond that all are let go after they were saved, and read again.
const MAX_WATCHES: usize = 50_000;
/// Snapshots read at once when rules change.
pub(super) const PAGE: usize = 1_000;

/// Watches by device: `user~device`, as in the device's stream.
#[derive(Debug, Default)]
pub(super) struct Watches {
    held: HashMap<Box<str>, Watch>,
    /// Those that know more than their snapshot.
    changed: HashSet<Box<str>>,
}

/// The two halves of a device's key.
pub(super) fn halves(key: &str) -> (&str, &str) {
    key.split_once('~').unwrap_or((key, ""))
}

impl Watches {
    /// Holds those of `keys` that are not held yet.
    pub(super) async fn fetch(
        &mut self,
        pool: &PgPool,
        rulebook: &Rulebook,
        keys: &HashSet<&str>,
    ) -> Result<(), sqlx::Error> {
        let missing: Vec<&str> =
            keys.iter().copied().filter(|key| !self.held.contains_key(*key)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let stored: HashMap<_, _> =
            snapshot::load(pool, SNAPSHOTS, &missing).await?.into_iter().collect();
        for key in missing {
            let watch = if let Some(state) = stored.get(key) {
                restore(rulebook, key, state)?
            } else {
                let (user_id, device_id) = halves(key);
                Watch::new(user_id, device_id, rulebook.in_force(user_id, device_id, None))
            };
            self.held.insert(key.into(), watch);
        }
        Ok(())
    }

    /// The watch of a device, which will know more than its snapshot.
    pub(super) fn change(&mut self, key: &str) -> Option<&mut Watch> {
        let watch = self.held.get_mut(key)?;
        if !self.changed.contains(key) {
            self.changed.insert(key.into());
        }
        Some(watch)
    }

    /// Whether rules are in force for a device.
    pub(super) fn concerns(&self, key: &str) -> bool {
        self.held.get(key).is_some_and(Watch::has_rules)
    }

    /// What is remembered of a device, if it is held: as it would be stored.
    pub(super) fn store(&self, key: &str) -> Option<String> {
        self.held.get(key).map(Watch::store)
    }

    /// Lets a device go, because its snapshot knows better.
    pub(super) fn forget(&mut self, key: &str) {
        self.held.remove(key);
        self.changed.remove(key);
    }

    /// Keys held that begin with `prefix`.
    pub(super) fn keys(&self, prefix: &str) -> Vec<Box<str>> {
        self.held.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    pub(super) fn holds(&self, key: &str) -> bool {
        self.held.contains_key(key)
    }

    /// Saves what changed; [`Watches::saved`] says when it is committed.
    pub(super) async fn save(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut states: Vec<_> = self
            .changed
            .iter()
            .filter_map(|key| Some((&**key, self.held.get(key)?.store())))
            .collect();
        states.sort_unstable(); // Two who save at once take their locks in the same order.
        snapshot::save(connection, SNAPSHOTS, &states).await
    }

    pub(super) fn saved(&mut self) {
        self.changed.clear();
        if self.held.len() > MAX_WATCHES {
            self.held.clear();
        }
    }
}

/// A watch that is not held, as it was stored.
pub(super) fn restore(rulebook: &Rulebook, key: &str, state: &str) -> Result<Watch, sqlx::Error> {
    let (user_id, device_id) = halves(key);
    let rules = rulebook.in_force(user_id, device_id, None);
    Watch::restore(user_id, device_id, rules, state)
        .map_err(|error| sqlx::Error::Decode(error.into()))
}

/// What follows from an event, with what surrounds it.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) outcome: Outcome,
    pub(super) metadata: eventsourcing::Metadata,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_of_the_snapshots_never_changes() {
        assert_eq!(super::SNAPSHOTS, "alert_watch.v1");
    }
}
