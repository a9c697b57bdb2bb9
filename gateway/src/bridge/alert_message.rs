//! What is published of an alert event.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::alerts::Threshold;
use domain::alerts::alert::Event;
use eventsourcing::Position;
use eventsourcing::event::CodecError;
use eventstore::RawEvent;
use projections::ByName;
use projections::alerts::{SeverityName, State, StateName};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// The payload on `users/{user_id}/devices/{device_id}/alerts`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertMessage<'a> {
    /// Id of the alert.
    id: &'a str,
    /// Summary of the rule: `battery < 20`.
    rule: &'a str,
    severity: SeverityName,
    state: StateName,
    /// The value of the reading that changed the alert; null if it has none.
    #[schema(value_type = Value, required = true)]
    value: Option<&'a Value>,
    /// Threshold of the rule; null if it has none.
    #[schema(value_type = Value, required = true)]
    threshold: Option<&'a Threshold>,
    /// Message of the rule.
    message: &'a str,
    /// Time of the reading.
    time: DateTime<Utc>,
    /// Position of the event in the log. Receivers deduplicate by it.
    #[schema(value_type = i64, minimum = 1)]
    position: Position,
}

impl AlertMessage<'_> {
    /// Topic and payload for an event; `None` if nothing is published.
    pub(super) fn of(raw: &RawEvent) -> Result<Option<(Bytes, Bytes)>, CodecError> {
        let (notice, state) = match raw.event::<Event>()? {
            Event::AlertRaised(raised) => (raised.notice, State::Active),
            Event::AlertUpdated { notice, .. } => (notice, State::Active),
            Event::AlertCleared { notice, .. } => (notice, State::Cleared),
            Event::AlertSuppressed { .. } | Event::AlertAcknowledged { .. } => return Ok(None),
        };
        let message = AlertMessage {
            id: raw.stream.key(),
            rule: &notice.rule,
            severity: ByName(notice.severity),
            state: ByName(state),
            value: notice.value.as_ref(),
            threshold: notice.threshold.as_ref(),
            message: &notice.message,
            time: notice.time,
            position: raw.position,
        };
        let topic = format!("users/{}/devices/{}/alerts", notice.user_id, notice.device_id);
        let payload = serde_json::to_vec(&message).map_err(CodecError::Json)?;
        Ok(Some((topic.into(), payload.into())))
    }
}

#[cfg(test)]
mod tests {
    use eventsourcing::{StreamId, Version};

    use uuid::Uuid;

    use super::*;

    fn published(event_type: &str, golden: &str) -> String {
        let raw = RawEvent {
            position: Position(45),
            id: Uuid::nil(),
            stream: StreamId::new("alert", Uuid::from_u128(7)),
            version: Version(1),
            event_type: event_type.into(),
            schema_version: 1,
            data: golden.trim().into(),
            metadata: "{}".into(),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        let (topic, payload) = AlertMessage::of(&raw).unwrap().unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        format!("{} {}", text(&topic), text(&payload))
    }

    #[test]
    fn published_alerts_never_change_their_form() {
        macro_rules! golden {
            ($file:literal) => {
                include_str!(concat!("../../../domain/golden/alerts/", $file, ".json"))
            };
        }
        let alert =
            r#"users/user_123/devices/pump-1/alerts {"id":"00000000-0000-0000-0000-000000000007""#;
        let low = r#""rule":"battery < 20","severity":"warning""#;
        let rpm =
            r#""rule":"/engine/rpm is_missing","severity":"info","state":"active","value":null"#;
        let words = r#""threshold":20.0,"message":"Critical Battery Level!""#;
        for (event_type, golden, pinned) in [
            (
                "alert_raised",
                golden!("alert_raised.v1"),
                format!(
                    r#"{low},"state":"active","value":19.0,{words},"time":"2023-11-14T22:13:20Z""#
                ),
            ),
            (
                "alert_updated",
                golden!("alert_updated.v1.no_value"),
                format!(
                    r#"{rpm},"threshold":null,"message":"/engine/rpm is_missing","time":"2023-11-14T22:14:20Z""#
                ),
            ),
            (
                "alert_cleared",
                golden!("alert_cleared.v1"),
                format!(
                    r#"{low},"state":"cleared","value":21.0,{words},"time":"2023-11-14T22:15:20Z""#
                ),
            ),
        ] {
            let pinned = format!(r#"{alert},{pinned},"position":45}}"#);
            assert_eq!(published(event_type, golden), pinned);
        }
    }
}
