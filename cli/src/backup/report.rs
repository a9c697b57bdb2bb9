//! The result of the check of a backup: what is printed, and the verdict on it.

use chrono::{DateTime, SecondsFormat, Utc};
use eventstore::Finding;
use serde::Serialize;
use uuid::Uuid;

use super::super::outcome::Failure;
use super::super::output;
use super::super::verify::print_chain;
use super::live::{Archive, Live};
use gateway::config::Span;

/// How old a backup may be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// Of what a restore would lose.
    pub(super) age: Option<Span>,
    /// Of the archive of the WAL.
    pub(super) archive_age: Option<Span>,
}

/// The result of a check.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether the verdict has no fault.
    pub(super) ok: bool,
    /// The deployment that the log of the backup belongs to.
    pub(super) deployment: Uuid,
    /// Epoch of that log, which `migrate --after-restore` has increased.
    pub(super) epoch: i64,
    /// Number of events checked.
    pub(super) events: u64,
    /// Position of the last event checked.
    pub(super) position: i64,
    /// Hash of the chain at that position, in hexadecimal.
    pub(super) hash: String,
    /// When the last event of the backup was recorded; none if the backup has no event.
    pub(super) newest_event_at: Option<DateTime<Utc>>,
    /// Age of that event.
    pub(super) age_seconds: Option<f64>,
    /// Number of findings in the log.
    pub(super) count: usize,
    /// The first of them, at most 100.
    pub(super) findings: Vec<Finding>,
    /// The running system, with `--live`.
    pub(super) live: Option<Live>,
}

impl Report {
    /// Returns a failure that names each fault: of the log first, then of its age.
    pub(super) fn verdict(&self, limits: Limits) -> Result<(), Failure> {
        let count = self.count;
        let changed = (count > 0).then(|| format!("the log of the backup has {count} findings"));
        let other = self.live.as_ref().and_then(|live| self.difference(live));
        let compared = other.is_none();
        let differences: Vec<_> = changed.into_iter().chain(other).collect();
        let age = limits.age.filter(|_| compared).and_then(|limit| self.too_old(limit));
        let archive = self.live.as_ref().zip(limits.archive_age);
        let archive = archive.and_then(|(live, limit)| archive_too_old(&live.archive, limit));
        let old: Vec<_> = age.into_iter().chain(archive).collect();
        match (differences.is_empty(), old.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(Failure::of_many(old, false)),
            (false, _) => Err(Failure::difference([differences, old].concat())),
        }
    }

    /// Returns why the backup is not one of the running system.
    fn difference(&self, live: &Live) -> Option<String> {
        let Self { deployment, epoch, position, .. } = self;
        if live.deployment != *deployment {
            return Some(format!(
                "the backup is of deployment {deployment}, the running system (--live) is deployment \
                 {}",
                live.deployment
            ));
        }
        if live.position < *position {
            return Some(format!(
                "the log of the running system (--live) ends at position {}, before the backup, \
                 which ends at {position}: that log has lost events, or the backup was used",
                live.position
            ));
        }
        (!live.is_prefix).then(|| {
            format!(
                "the running system (--live, epoch {}) has another history than the backup (epoch \
                 {epoch}) up to position {position}: one of them was changed, or was used after a \
                 restore",
                live.epoch
            )
        })
    }

    /// Returns why a restore would lose more than `limit` allows.
    fn too_old(&self, limit: Span) -> Option<String> {
        let exceeds = |seconds: f64| seconds > limit.0.as_secs_f64();
        if let Some(Live { events_behind, seconds_behind, .. }) = &self.live {
            return exceeds(*seconds_behind).then(|| {
                format!(
                    "a restore would lose {events_behind} events, the first of which was recorded {} \
                     ago, longer than --max-age {limit}: make a new backup",
                    time(*seconds_behind)
                )
            });
        }
        let Some(age) = self.age_seconds else { return Some("the backup has no event".into()) };
        exceeds(age).then(|| {
            format!(
                "the newest event of the backup was recorded {} ago, longer than --max-age {limit}: \
                 make a new backup, or give --live: a backup that lacks no event is not too old",
                time(age)
            )
        })
    }

    /// Prints the result for people.
    pub(super) fn print(&self) -> Result<(), Failure> {
        print_chain(self.events, self.position, &self.hash, &self.findings)?;
        output::line(&format!("deployment {}, epoch {}", self.deployment, self.epoch))?;
        if let (Some(at), Some(age)) = (self.newest_event_at, self.age_seconds) {
            let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
            output::line(&format!("newest event: {at}, {} ago", time(age)))?;
        }
        let Some(live) = &self.live else { return Ok(()) };
        let Live { deployment, epoch, position, events_behind, seconds_behind, .. } = live;
        let lost = match (live.is_prefix, events_behind) {
            (false, _) => "not a continuation of the backup".to_owned(),
            (true, 0) => "no event after the backup".to_owned(),
            (true, _) => format!(
                "{events_behind} events after the backup, the first of them recorded {} ago",
                time(*seconds_behind)
            ),
        };
        output::line(&format!(
            "running system: deployment {deployment}, epoch {epoch}, events up to {position}; {lost}"
        ))?;
        output::line(&format!("archive of its WAL: {}", archive_state(&live.archive)))
    }
}

fn archive_state(archive: &Archive) -> String {
    let state = match archive.age_seconds {
        _ if !archive.enabled => "off".to_owned(),
        None => "no segment since the statistics of Postgres were reset".to_owned(),
        Some(age) => format!("last segment {} ago", time(age)),
    };
    if archive.enabled && archive.is_failing() {
        format!("{state}; the last attempt failed: see the log of Postgres")
    } else {
        state
    }
}

/// Returns why the archive of the WAL is older than `limit`.
fn archive_too_old(archive: &Archive, limit: Span) -> Option<String> {
    let is_recent = archive.age_seconds.is_some_and(|age| age <= limit.0.as_secs_f64());
    let state = archive_state(archive);
    let is_good = archive.enabled && is_recent;
    (!is_good).then(|| {
        format!(
            "the archive of the WAL of the running system is not within --max-archive-age {limit}: \
             {state}"
        )
    })
}

/// Returns a time in the unit that people would use.
fn time(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    match seconds {
        _ if seconds < 2.0 * MINUTE => format!("{seconds:.1} s"),
        _ if seconds < 2.0 * HOUR => format!("{:.1} min", seconds / MINUTE),
        _ if seconds < 2.0 * DAY => format!("{:.1} h", seconds / HOUR),
        _ => format!("{:.1} d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            ok: true,
            deployment: Uuid::nil(),
            epoch: 2,
            events: 5,
            position: 5,
            hash: "h".into(),
            newest_event_at: DateTime::from_timestamp(0, 0),
            age_seconds: Some(95_000.0),
            count: 0,
            findings: Vec::new(),
            live: None,
        }
    }

    fn live() -> Live {
        Live {
            deployment: Uuid::nil(),
            epoch: 1,
            position: 7,
            is_prefix: true,
            events_behind: 2,
            seconds_behind: 60.0,
            archive: Archive {
                enabled: true,
                last_archived_at: DateTime::from_timestamp(7, 0),
                age_seconds: Some(30.0),
                last_failed_at: None,
            },
        }
    }

    fn limits(age: &str, archive_age: &str) -> Limits {
        Limits { age: age.parse().ok(), archive_age: archive_age.parse().ok() }
    }

    /// Messages of the verdict; empty for a good backup.
    fn verdict(report: &Report, limits: Limits) -> String {
        report.verdict(limits).err().map(|failure| failure.text()).unwrap_or_default()
    }

    #[test]
    fn names_in_the_printed_json_never_change() {
        let report = Report { live: Some(live()), ..report() };
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::json!({
                "ok": true, "deployment": Uuid::nil(), "epoch": 2, "events": 5, "position": 5,
                "hash": "h", "newest_event_at": "1970-01-01T00:00:00Z", "age_seconds": 95_000.0,
                "count": 0, "findings": [],
                "live": {
                    "deployment": Uuid::nil(), "epoch": 1, "position": 7, "is_prefix": true,
                    "events_behind": 2, "seconds_behind": 60.0,
                    "archive": {
                        "enabled": true, "last_archived_at": "1970-01-01T00:00:07Z",
                        "age_seconds": 30.0, "last_failed_at": null,
                    },
                },
            })
        );
    }

    #[test]
    fn the_age_is_that_of_what_a_restore_would_lose() {
        let alone = report();
        assert_eq!(verdict(&alone, limits("27h", "")), "");
        let refused = verdict(&alone, limits("26h", ""));
        assert!(refused.starts_with("the newest event of the backup was recorded 26.4 h ago"));
        let empty = Report { newest_event_at: None, age_seconds: None, ..report() };
        assert_eq!(verdict(&empty, limits("26h", "")), "the backup has no event");
        let compared = Report { live: Some(live()), ..report() };
        assert_eq!(verdict(&compared, limits("1m", "")), "");
        let refused = verdict(&compared, limits("59s", ""));
        assert!(
            refused.starts_with("a restore would lose 2 events, the first of which"),
            "{refused}"
        );
        // Nothing was appended since.
        let quiet = Live { position: 5, events_behind: 0, seconds_behind: 0.0, ..live() };
        assert_eq!(verdict(&Report { live: Some(quiet), ..report() }, limits("59s", "")), "");
    }

    #[test]
    fn the_archive_is_on_recent_and_its_failure_is_named() {
        let archive = |archive| Report { live: Some(Live { archive, ..live() }), ..report() };
        let good = live().archive;
        assert_eq!(verdict(&archive(live().archive), limits("", "30s")), "");
        let failed = DateTime::from_timestamp(8, 0);
        for (archived, sentence) in [
            (Archive { enabled: false, ..live().archive }, "off"),
            (Archive { age_seconds: None, last_archived_at: None, ..live().archive }, "no segment"),
            (Archive { age_seconds: Some(31.0), ..live().archive }, "last segment 31.0 s ago"),
            (
                Archive { age_seconds: Some(31.0), last_failed_at: failed, ..good },
                "31.0 s ago; the last attempt failed",
            ),
        ] {
            let refused = verdict(&archive(archived), limits("", "30s"));
            assert!(refused.contains(sentence), "{refused}");
        }
    }

    #[test]
    fn a_backup_of_another_history_is_refused() {
        let other = Uuid::from_u128(1);
        for (live, sentence) in [
            (Live { deployment: other, ..live() }, "the running system (--live) is deployment 0"),
            (Live { position: 4, is_prefix: false, ..live() }, "ends at position 4, before"),
            (Live { is_prefix: false, ..live() }, "has another history than the backup (epoch 2)"),
        ] {
            // What a restore would lose is not known.
            let refused = verdict(&Report { live: Some(live), ..report() }, limits("1s", ""));
            assert!(refused.contains(sentence) && !refused.contains("--max-age"), "{refused}");
        }
    }
}
