//! The running system, with which a backup is compared: its log and its archive of the WAL.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use eventstore::{LogReader, Owner, Unavailable};
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::super::outcome::Failure;
use gateway::config::ServerUrl;

/// The database of the running system.
pub(super) struct LiveDatabase(LogReader);

/// The log of the running system, compared with that of a backup.
#[derive(Debug, Serialize)]
pub(super) struct Live {
    /// The deployment that the log belongs to.
    pub(super) deployment: Uuid,
    /// Epoch of the log.
    pub(super) epoch: i64,
    /// The head.
    pub(super) position: i64,
    /// Whether the log begins with the events of the backup.
    pub(super) is_prefix: bool,
    /// Number of events after those of the backup.
    pub(super) events_behind: i64,
    /// Age of the first of these events; 0 if there is none.
    pub(super) seconds_behind: f64,
    /// The archive of the WAL.
    pub(super) archive: Archive,
}

/// The archive of the WAL of the running system.
#[derive(Debug, Serialize)]
pub(super) struct Archive {
    /// Whether the system archives its WAL.
    pub(super) enabled: bool,
    /// When the last segment was archived.
    pub(super) last_archived_at: Option<DateTime<Utc>>,
    /// Time since then.
    pub(super) age_seconds: Option<f64>,
    /// When the last attempt failed.
    pub(super) last_failed_at: Option<DateTime<Utc>>,
}

impl Archive {
    /// Returns whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.last_failed_at.is_some() && self.last_failed_at > self.last_archived_at
    }
}

impl LiveDatabase {
    /// Returns the database at `url`; opens no connection yet. Unlike other URLs of databases, this one
    /// holds everything: the two servers need not have the same password and certificates.
    pub(super) fn at(url: &ServerUrl) -> Result<Self, Failure> {
        let usage = |message: &str| Failure::usage(vec![format!("--live: {message}")]);
        if !url.expose().starts_with("postgres") {
            let message = "hashes of events are read from the database only: give a URL that begins \
                           with postgres://";
            return Err(usage(message));
        }
        let server = url.expose().parse::<PgConnectOptions>();
        let server = server.map_err(|error| usage(&error.to_string()))?;
        Ok(Self(LogReader::new(eventstore::pool(server, 1))))
    }

    /// Returns the deployment and the epoch of the log.
    pub(super) async fn owner(&self) -> Result<Owner, Failure> {
        self.0.owner().await.map_err(of_live)
    }

    /// Compares the log with that of a backup, which ends at `position` with `hash`. Returns the time by
    /// the clock of the running system, too.
    pub(super) async fn compare(
        &self,
        position: Position,
        hash: &[u8],
    ) -> Result<(Live, DateTime<Utc>), Failure> {
        let Owner { deployment, epoch } = self.owner().await?;
        let after = self.0.after(position).await.map_err(of_live)?;
        let archive = self.0.wal_archive().await.map_err(of_live)?;
        let now = self.0.time_of_postgres().await.map_err(of_live)?;
        let live = Live {
            deployment,
            epoch,
            position: after.head.0,
            is_prefix: after.hash.as_deref() == Some(hash),
            events_behind: (after.head.0 - position.0).max(0),
            seconds_behind: after.next_recorded_at.map_or(0.0, |next| seconds_since(next, now)),
            archive: Archive {
                enabled: archive.enabled,
                last_archived_at: archive.last_archived_at,
                age_seconds: archive.last_archived_at.map(|last| seconds_since(last, now)),
                last_failed_at: archive.last_failed_at,
            },
        };
        Ok((live, now))
    }
}

/// Returns the seconds from `time` to `now`; 0 if a clock was set back.
pub(super) fn seconds_since(time: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - time).as_seconds_f64().max(0.0)
}

fn of_live(error: Unavailable) -> Failure {
    Failure::from(error).about("--live")
}
