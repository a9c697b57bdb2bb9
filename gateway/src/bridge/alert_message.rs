//! What is published of an alert event.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::alerts::alert::Event;
use domain::alerts::{Severity, Threshold};
use eventsourcing::Position;
use eventstore::RawEvent;
use serde::Serialize;
use serde_json::Value;

/// The payload on `users/{user_id}/devices/{device_id}/alerts`.
#[derive(Debug, Serialize)]
pub(super) struct AlertMessage<'a> {
    /// Id of the alert.
    id: &'a str,
    /// Summary of the rule: `battery < 20`.
    rule: &'a str,
    severity: Severity,
    /// `active` or `cleared`.
    state: &'static str,
    value: Option<&'a Value>,
    threshold: Option<&'a Threshold>,
    message: &'a str,
    time: DateTime<Utc>,
    /// Position of the event in the log. Receivers deduplicate by it.
    position: Position,
}

impl AlertMessage<'_> {
    /// Topic and payload for an event; `None` if nothing is published. An event that cannot be
    /// decoded is of a newer build, which publishes it.
    pub(super) fn of(raw: &RawEvent) -> Option<(Bytes, Bytes)> {
        let (notice, state) = match raw.event::<Event>().ok()? {
            Event::AlertRaised(raised) => (raised.notice, "active"),
            Event::AlertUpdated { notice, .. } => (notice, "active"),
            Event::AlertCleared { notice, .. } => (notice, "cleared"),
            Event::AlertAcknowledged { .. } => return None,
        };
        let message = AlertMessage {
            id: raw.stream.key(),
            rule: &notice.rule,
            severity: notice.severity,
            state,
            value: notice.value.as_ref(),
            threshold: notice.threshold.as_ref(),
            message: &notice.message,
            time: notice.time,
            position: raw.position,
        };
        let topic = format!("users/{}/devices/{}/alerts", notice.user_id, notice.device_id);
        let payload = serde_json::to_vec(&message).ok()?;
        Some((topic.into(), payload.into()))
    }
}
