//! A sample of a host, what makes it valid, and what makes it the same sample.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::name::HostName;

/// What a host amounted to at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub host: HostName,
    /// When it was taken, by the host's clock, to the microsecond.
    pub time: DateTime<Utc>,
    /// Accounts of people.
    pub users: u32,
    pub storage: Storage,
    pub memory: Memory,
    /// Load averages over the last 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

/// The file system that holds `/`, in bytes. What is kept for the administrator is neither used nor
/// free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    pub total_bytes: u64,
    pub used_bytes: u64,
    /// Free for everybody.
    pub free_bytes: u64,
}

/// Main memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub total_bytes: u64,
    /// What could not be had by another program: caches are not in use.
    pub used_bytes: u64,
}

impl Sample {
    /// How far a host's clock may run ahead of ours, in hours.
    pub const MAX_HOURS_AHEAD: i64 = 24;
    /// Samples before this second of the epoch (2000-01-01) come from a clock that was never set.
    pub const EARLIEST: i64 = 946_684_800;
    /// No amount is larger: read models keep signed numbers.
    pub const MAX_BYTES: u64 = i64::MAX as u64;

    /// Reads the payload of a host's own topic. It may name the host once more; what it says beyond
    /// a sample is passed over.
    pub fn from_message(
        host: &HostName,
        payload: &[u8],
        received_at: DateTime<Utc>,
    ) -> Result<(Uuid, Self), InvalidSample> {
        let fields: Fields = serde_json::from_slice(payload).map_err(InvalidSample::NotASample)?;
        if fields.host.is_some_and(|named| named != *host) {
            return Err(InvalidSample::OtherHost);
        }
        let latest = received_at.timestamp() + Self::MAX_HOURS_AHEAD * 3600;
        if !(Self::EARLIEST..=latest).contains(&fields.time.timestamp()) {
            return Err(InvalidSample::Time);
        }
        let sample = Self {
            host: host.clone(),
            time: fields
                .time
                .duration_trunc(TimeDelta::microseconds(1))
                .map_err(|_outside| InvalidSample::Time)?,
            users: fields.users,
            storage: fields.storage,
            memory: fields.memory,
            load: fields.load,
        };
        sample.check()?;
        Ok((sample.id(), sample))
    }

    fn check(&self) -> Result<(), InvalidSample> {
        let Storage { total_bytes, used_bytes, free_bytes } = self.storage;
        if [total_bytes, self.memory.total_bytes].iter().any(|bytes| *bytes > Self::MAX_BYTES) {
            return Err(InvalidSample::TooLarge);
        }
        if used_bytes.checked_add(free_bytes).is_none_or(|sum| sum > total_bytes) {
            return Err(InvalidSample::MoreThanThereIs("storage"));
        }
        if self.memory.used_bytes > self.memory.total_bytes {
            return Err(InvalidSample::MoreThanThereIs("memory"));
        }
        if self.load.iter().any(|load| *load < 0.0) {
            return Err(InvalidSample::Load);
        }
        Ok(())
    }

    /// A host has one sample of one moment.
    fn id(&self) -> Uuid {
        let (micros, millis) = (self.time.timestamp_micros(), self.time.timestamp_millis());
        eventsourcing::fact::id(&["host_sampled", self.host.as_str()], &[micros], millis)
    }
}

/// A sample as it comes.
#[derive(Deserialize)]
#[serde(expecting = "a JSON object with the fields of a sample")]
struct Fields {
    host: Option<HostName>,
    time: DateTime<Utc>,
    users: u32,
    storage: Storage,
    memory: Memory,
    load: [f64; 3],
}

/// Why a message is not a sample.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSample {
    #[error("not a host sample: {0}")]
    NotASample(serde_json::Error),
    #[error("`host` names another host than the topic")]
    OtherHost,
    #[error("`time` is more than {} hours ahead, or before the year 2000", Sample::MAX_HOURS_AHEAD)]
    Time,
    #[error("an amount is at most {} bytes", Sample::MAX_BYTES)]
    TooLarge,
    #[error("`{0}`: more is used or free than there is")]
    MoreThanThereIs(&'static str),
    #[error("`load` is not below zero")]
    Load,
}
