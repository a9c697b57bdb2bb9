//! Metrics of the host: user accounts, storage, memory and load. For `GET /users`, `GET /storage` and
//! the agent.

use std::io;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use domain::host::{HostName, Memory, Sample, Storage};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Lifetime of cached metrics: many requests cause one read of the disk.
const CACHE_TTL: Duration = Duration::from_secs(1);
/// File system whose storage is measured.
const ROOT: &str = "/";
/// File that lists the accounts.
const PASSWD: &str = "/etc/passwd";
/// Lowest user id of a person; lower ones, except root's, belong to services.
const FIRST_PERSON: u32 = 1000;
/// Name of the account `nobody`, which has a high user id but is no person.
const NOBODY: &str = "nobody";

/// Metrics of the host at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Number of accounts of people: root, and those with id 1000 or higher except `nobody`.
    pub users: u32,
    /// Storage of the root file system, in bytes.
    pub storage: Storage,
    /// Memory, in bytes.
    pub memory: Memory,
    /// Load averages over the last 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

impl Metrics {
    /// Returns the metrics as a sample of `host`, taken at `time`.
    pub fn sample(self, host: HostName, time: DateTime<Utc>) -> Sample {
        let Self { users, storage, memory, load } = self;
        // The precision of the log, so that the recorded sample equals the one sent.
        let time = time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time);
        Sample { host, time, users, storage, memory, load }
    }
}

/// Why the host's metrics cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system did not return its size.
    #[error("cannot read the size of the file system {ROOT}")]
    Storage(#[source] io::Error),
    /// The list of accounts is not readable.
    #[error("cannot read {PASSWD}")]
    Users(#[source] io::Error),
    /// The system did not return memory or load.
    #[error("cannot read memory and load")]
    System(#[from] sysinfo::Error),
    /// The read panicked; this is a bug.
    #[error("reading the host's metrics panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Reads the host's metrics at most once per second.
#[derive(Debug, Default)]
pub struct Reader {
    /// Locked during a read: concurrent callers wait for its result.
    last: Mutex<Option<(Instant, Metrics)>>,
}

impl Reader {
    /// Returns metrics that are at most one second old.
    pub async fn read(&self) -> Result<Metrics, ReadError> {
        let mut last = self.last.lock().await;
        if let Some((at, metrics)) = *last
            && at.elapsed() < CACHE_TTL
        {
            return Ok(metrics);
        }
        // May block on the disk.
        let metrics = tokio::task::spawn_blocking(metrics).await.map_err(ReadError::Panicked)??;
        *last = Some((Instant::now(), metrics));
        Ok(metrics)
    }
}

/// Returns the host name, if it is a valid one.
pub fn name() -> Option<HostName> {
    System::host_name().ok()?.parse().ok()
}

fn metrics() -> Result<Metrics, ReadError> {
    let accounts = std::fs::read(PASSWD).map_err(ReadError::Users)?;
    let only = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(only)?;
    let load = System::load_average()?;
    Ok(Metrics {
        users: people(&String::from_utf8_lossy(&accounts)),
        storage: storage().map_err(ReadError::Storage)?,
        memory: Memory {
            total_bytes: system.total_memory(),
            used_bytes: system.used_memory().min(system.total_memory()),
        },
        load: [load.one, load.five, load.fifteen],
    })
}

/// Returns the storage as `df` computes it.
fn storage() -> io::Result<Storage> {
    let found = rustix::fs::statvfs(ROOT)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    Ok(Storage {
        total_bytes: bytes(found.f_blocks),
        used_bytes: bytes(used),
        free_bytes: bytes(found.f_bavail.min(found.f_bfree)),
    })
}

/// Counts the accounts of people.
fn people(accounts: &str) -> u32 {
    let is_person = |line: &&str| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let id = fields.nth(1).and_then(|id| id.parse::<u32>().ok());
        id.is_some_and(|id| id == 0 || (id >= FIRST_PERSON && name != NOBODY))
    };
    u32::try_from(accounts.lines().filter(is_person).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use domain::TimeWindow;

    use super::*;

    #[test]
    fn root_and_accounts_with_a_high_id_are_people() {
        let accounts = "\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
ada:x:1000:1000:Ada,,,:/home/ada:/bin/bash
grace:x:70001:70001::/home/grace:/bin/false
sshd:x:999:999::/run/sshd:/usr/sbin/nologin

# a comment
+::::::
";
        assert_eq!(people(accounts), 3);
        assert_eq!(people(""), 0);
    }

    #[tokio::test]
    async fn metrics_are_plausible_and_cached() {
        let reader = Reader::default();
        let metrics = reader.read().await.unwrap();
        let Storage { total_bytes, used_bytes, free_bytes } = metrics.storage;
        assert!(free_bytes + used_bytes <= total_bytes && used_bytes > 0, "{metrics:?}");
        assert!(metrics.memory.used_bytes > 0 && metrics.users > 0, "{metrics:?}");
        let first = reader.last.lock().await.unwrap().0;
        reader.read().await.unwrap();
        let last = reader.last.lock().await.unwrap().0;
        assert!(last == first || first.elapsed() >= CACHE_TTL, "the second read is from the cache");
    }

    #[tokio::test]
    async fn a_sample_survives_its_message_unchanged() {
        let metrics = Reader::default().read().await.unwrap();
        let (host, now): (HostName, _) = ("here".parse().unwrap(), Utc::now());
        let sent = metrics.sample(host.clone(), now);
        let payload = serde_json::to_vec(&sent).unwrap();
        let (_, received) =
            Sample::from_message(&TimeWindow::DEFAULT, &host, &payload, now).unwrap();
        assert_eq!(received.time, sent.time);
        assert_eq!(received.storage, sent.storage);
    }
}
