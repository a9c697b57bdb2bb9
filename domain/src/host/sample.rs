//! A sample of a host: its validation and its id.

use chrono::{DateTime, DurationRound, RoundingError, TimeDelta, Utc};
use eventsourcing::json::{self, ReadError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::name::HostName;
use crate::time_window::{OutsideWindow, TimeWindow};

/// Metrics of a host at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Name of the host.
    pub host: HostName,
    /// Time of the sample by the host's clock, in microseconds.
    pub time: DateTime<Utc>,
    /// Number of user accounts that belong to people.
    pub users: u32,
    /// Usage of the root file system.
    pub storage: Storage,
    /// Usage of main memory.
    pub memory: Memory,
    /// Load averages over the last 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

/// Usage of the file system that holds `/`. Blocks reserved for the superuser are neither used nor
/// free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    /// Used space in bytes.
    pub used_bytes: u64,
    /// Space available to unprivileged users, in bytes.
    pub free_bytes: u64,
}

/// Usage of main memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Size of main memory in bytes.
    pub total_bytes: u64,
    /// Memory that is not available to other programs, in bytes; caches count as available.
    pub used_bytes: u64,
}

impl Sample {
    /// Maximum size of storage and memory in bytes; read models store signed integers.
    pub const MAX_BYTES: u64 = i64::MAX as u64;

    /// Parses the payload of a message on the topic of `host`, and returns the sample with its event
    /// id. The payload may name the host; unknown members are ignored.
    ///
    /// # Errors
    /// Returns an error if the payload is not a sample, names another host, its time is outside of
    /// `window`, or a value is out of range.
    pub fn from_message(
        window: &TimeWindow,
        host: &HostName,
        payload: &[u8],
        received_at: DateTime<Utc>,
    ) -> Result<(Uuid, Self), InvalidSample> {
        let fields: Fields = json::read(payload).map_err(InvalidSample::NotASample)?;
        if fields.host.is_some_and(|named| named != *host) {
            return Err(InvalidSample::OtherHost);
        }
        window.check(fields.time, received_at)?;
        let sample = Self {
            host: host.clone(),
            time: fields
                .time
                .duration_trunc(TimeDelta::microseconds(1))
                .map_err(InvalidSample::Precision)?,
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
            return Err(InvalidSample::ExceedsTotal("storage"));
        }
        if self.memory.used_bytes > self.memory.total_bytes {
            return Err(InvalidSample::ExceedsTotal("memory"));
        }
        if self.load.iter().any(|load| *load < 0.0) {
            return Err(InvalidSample::Load);
        }
        Ok(())
    }

    /// Derives the event id: a host has one sample for each microsecond.
    fn id(&self) -> Uuid {
        let (micros, millis) = (self.time.timestamp_micros(), self.time.timestamp_millis());
        eventsourcing::fact::id(&["host_sampled", self.host.as_str()], &[micros], millis)
    }
}

/// The members of a sample message.
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
    /// The payload is not JSON, or a member is missing or of the wrong type.
    #[error("not a host sample: {0}")]
    NotASample(ReadError),
    /// The payload names another host than the topic.
    #[error("`host` names another host than the topic")]
    OtherHost,
    /// The time is too early or too late.
    #[error(transparent)]
    Time(#[from] OutsideWindow),
    /// The time cannot be reduced to microseconds: it is centuries away.
    #[error("`time` is out of range: {0}")]
    Precision(RoundingError),
    /// A size is over [`Sample::MAX_BYTES`].
    #[error("a size is at most {} bytes", Sample::MAX_BYTES)]
    TooLarge,
    /// Used and free bytes exceed the total of the named member.
    #[error("`{0}`: used and free bytes exceed the total")]
    ExceedsTotal(&'static str),
    /// A load average is negative.
    #[error("`load` must not be negative")]
    Load,
}
