//! What the machine we run on amounts to: its people, its disk, its memory, its load. For `GET
//! /users` and `GET /storage`, and for the agent.

use std::io;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use domain::host::{HostName, Memory, Sample, Storage};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long what was read is as good as new: a flood of requests does not become one of the disk.
const FRESH: Duration = Duration::from_secs(1);
/// The file system that counts.
const ROOT: &str = "/";
/// Where accounts are listed.
const PASSWD: &str = "/etc/passwd";
/// Accounts of people have this id or a higher one; below are those of services.
const FIRST_PERSON: u32 = 1000;
/// The account of nobody, by its name: its id is 65534 on most systems.
const NOBODY: &str = "nobody";

/// The host at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Accounts of people: root, and those with id 1000 or higher, but nobody's.
    pub users: u32,
    pub storage: Storage,
    pub memory: Memory,
    /// Load averages over the last 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

impl Metrics {
    /// As a sample of `host`, taken at `time`.
    pub fn sample(self, host: HostName, time: DateTime<Utc>) -> Sample {
        let Self { users, storage, memory, load } = self;
        // As precise as the log keeps it, so that sent and recorded are the same.
        let time = time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time);
        Sample { host, time, users, storage, memory, load }
    }
}

/// The host could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the file system of {ROOT} cannot be measured")]
    Storage(#[source] io::Error),
    #[error("{PASSWD} cannot be read")]
    Users(#[source] io::Error),
    #[error("memory and load cannot be read")]
    System(#[from] sysinfo::Error),
    /// A defect of ours.
    #[error("reading the host has panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// Reads the host, at most once a second, however many ask.
#[derive(Debug, Default)]
pub struct Reader {
    /// Held while it is read: who comes meanwhile waits for that one.
    last: Mutex<Option<(Instant, Metrics)>>,
}

impl Reader {
    pub async fn read(&self) -> Result<Metrics, Unreadable> {
        let mut last = self.last.lock().await;
        if let Some((at, metrics)) = *last
            && at.elapsed() < FRESH
        {
            return Ok(metrics);
        }
        // A disk may take its time, so not on the runtime's own threads.
        let metrics =
            tokio::task::spawn_blocking(metrics).await.map_err(Unreadable::Panicked)??;
        *last = Some((Instant::now(), metrics));
        Ok(metrics)
    }
}

/// What the machine calls itself, as far as that is a name.
pub fn name() -> Option<HostName> {
    System::host_name().ok()?.parse().ok()
}

fn metrics() -> Result<Metrics, Unreadable> {
    let accounts = std::fs::read(PASSWD).map_err(Unreadable::Users)?;
    let only = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(only)?;
    let load = System::load_average()?;
    Ok(Metrics {
        users: people(&String::from_utf8_lossy(&accounts)),
        storage: storage().map_err(Unreadable::Storage)?,
        memory: Memory {
            total_bytes: system.total_memory(),
            used_bytes: system.used_memory().min(system.total_memory()),
        },
        load: [load.one, load.five, load.fifteen],
    })
}

/// As `df` has it.
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

/// How many of the accounts listed are people's.
fn people(accounts: &str) -> u32 {
    let is_a_person = |line: &&str| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let id = fields.nth(1).and_then(|id| id.parse::<u32>().ok());
        id.is_some_and(|id| id == 0 || (id >= FIRST_PERSON && name != NOBODY))
    };
    u32::try_from(accounts.lines().filter(is_a_person).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_root_and_those_with_a_high_id() {
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
    async fn what_is_read_makes_sense_and_is_read_once_in_a_while() {
        let reader = Reader::default();
        let metrics = reader.read().await.unwrap();
        let Storage { total_bytes, used_bytes, free_bytes } = metrics.storage;
        assert!(free_bytes + used_bytes <= total_bytes && used_bytes > 0, "{metrics:?}");
        assert!(metrics.memory.used_bytes > 0 && metrics.users > 0, "{metrics:?}");
        let first = reader.last.lock().await.unwrap().0;
        reader.read().await.unwrap();
        assert_eq!(reader.last.lock().await.unwrap().0, first, "it was read again");
    }

    #[tokio::test]
    async fn what_is_read_is_a_sample_that_is_taken() {
        let metrics = Reader::default().read().await.unwrap();
        let (host, now): (HostName, _) = ("here".parse().unwrap(), Utc::now());
        let sent = metrics.sample(host.clone(), now);
        let payload = serde_json::to_vec(&sent).unwrap();
        let (_, taken) = Sample::from_message(&host, &payload, now).unwrap();
        assert_eq!(taken.time, sent.time);
        assert_eq!(taken.storage, sent.storage);
    }
}
