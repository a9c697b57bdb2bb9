//! The settings of a run.

use std::fmt;
use std::time::Duration;

use domain::telemetry::{Limits, UserId};
use eventstore::EventStore;
use serde::Serialize;
use uuid::Uuid;

use super::plan::{self, Plan};

/// Most messages of a run: the ledger has two bits for each.
const MAX_MESSAGES: u64 = 500_000_000;
/// Most messages a second of one device.
pub const MAX_RATE: f64 = 100_000.0;
/// Most devices of a user: a page of the API.
pub const MAX_DEVICES_PER_USER: u32 = 500;

/// What a run does, and where.
#[derive(Debug)]
pub struct Settings {
    /// Number of users, at least 1.
    pub users: u32,
    /// Devices of each user, from 1 to [`MAX_DEVICES_PER_USER`]. On MQTT, each is a connection.
    pub devices_per_user: u32,
    /// Messages a second of each device, more than 0 and at most [`MAX_RATE`].
    pub rate: f64,
    /// How long messages are due.
    pub duration: Duration,
    /// How devices send.
    pub mode: Mode,
    /// Name of the run, part of its users' ids. `None`: a random one.
    pub run: Option<String>,
    /// Names of the fields of a reading, of letters, digits and `_`.
    pub fields: Vec<String>,
    /// How long a run without progress is continued before the missing messages are given up.
    pub patience: Duration,
    /// The HTTP API.
    pub api: Api,
    /// The broker. Address, account and version are used.
    pub broker: mqtt::Options,
    /// The log. It is only read.
    pub store: EventStore,
}

/// The HTTP API of the system under test.
#[derive(Clone)]
pub struct Api {
    /// Base address, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// Certificates that sign the server's, in PEM; `None`: those of the system.
    pub ca: Option<Vec<u8>>,
    /// Bearer token of an operator.
    pub token: String,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive() // Both may hold a secret.
    }
}

/// How devices send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A connection for each device, at `QoS` 1.
    Mqtt,
    /// A connection for each user, which sends what is due in batches.
    Http,
}

impl Mode {
    /// What acknowledges a message.
    pub fn acknowledgement(self) -> &'static str {
        match self {
            Self::Mqtt => "PUBACK",
            Self::Http => "verdict",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mqtt => "mqtt",
            Self::Http => "http",
        })
    }
}

/// A setting that makes no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// The name of the run.
    #[error("the name of a run consists of a few letters, digits or . _ : @ -")]
    Run,
    /// Users × devices × rate × duration.
    #[error("a run has at most {MAX_MESSAGES} messages")]
    TooManyMessages,
    /// Rate × duration.
    #[error("at this rate, no message is due within the duration")]
    NoMessages,
    /// The names of the fields.
    #[error(
        "a reading has at most {} fields, named with letters, digits or _",
        Limits::DEFAULT.fields
    )]
    Fields,
}

impl Settings {
    /// The plan, or every invalid setting.
    pub(crate) fn plan(&self) -> Result<Plan, Vec<InvalidSetting>> {
        let plan = Plan {
            run: self.run.clone().unwrap_or_else(plan::random_run),
            boot: Uuid::now_v7(),
            users: self.users,
            devices_per_user: self.devices_per_user,
            rate: self.rate,
            duration: self.duration,
            fields: self.fields.clone(),
        };
        let plain = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let fields_fit = self.fields.len() <= Limits::DEFAULT.fields;
        // The last user's id is the longest.
        let valid_run = UserId::parse(&plan.user_id(plan.users)).is_ok();
        let checks = [
            (!valid_run, InvalidSetting::Run),
            (plan.total() > MAX_MESSAGES, InvalidSetting::TooManyMessages),
            (plan.messages() == 0, InvalidSetting::NoMessages),
            (!(fields_fit && self.fields.iter().all(plain)), InvalidSetting::Fields),
        ];
        let invalid: Vec<_> =
            checks.into_iter().filter_map(|(wrong, which)| wrong.then_some(which)).collect();
        if invalid.is_empty() { Ok(plan) } else { Err(invalid) }
    }
}
