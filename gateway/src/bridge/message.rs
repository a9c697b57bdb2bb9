//! Decodes a message: topic, payload and time become the append request that records it. Pure.

use chrono::{DateTime, Utc};
use domain::alerts::{Config, Fault, RulesEvent, Scope, rules_stream};
use domain::host::{self, InvalidSample, Sample};
use domain::telemetry::{
    DeviceRef, Event, InvalidReading, Limits, MessageRejected, Reading, device_stream,
    rejection_stream,
};
use eventsourcing::event::CodecError;
use eventsourcing::json::ReadError;
use eventstore::{Append, AppendError, ExpectedVersion, NewEvent};
use uuid::Uuid;

use super::presence;
use super::topics::{InvalidTopic, Topic};
use crate::metrics::count_unusable;

/// Rejected messages are recorded in the stream `rejection-mqtt`.
const SOURCE: &str = "mqtt";
/// Estimated memory of a message in flight besides its text: its append request, the waiting
/// future, its place in three queues.
const OVERHEAD_BYTES: usize = 1024;

/// A message as received, kept until it is recorded: a retry, or its rejection, starts from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    topic: Box<str>,
    payload: Box<[u8]>,
    /// Length of the whole payload in bytes. Of one that exceeds the limit, a prefix is kept.
    size: usize,
    received_at: DateTime<Utc>,
}

impl Message {
    /// A message whose payload has `size` bytes, of which `payload` may be only the beginning.
    pub(super) fn new(
        topic: &[u8],
        payload: &[u8],
        size: usize,
        received_at: DateTime<Utc>,
    ) -> Self {
        let kept = if size > Reading::MAX_BYTES {
            &payload[..payload.len().min(MessageRejected::MAX_PAYLOAD_BYTES)]
        } else {
            payload
        };
        Self {
            topic: String::from_utf8_lossy(topic).into(),
            payload: kept.into(),
            size,
            received_at,
        }
    }

    /// Its memory in bytes while in flight: as received, and once more as the event made of it.
    pub(super) fn weight(&self) -> usize {
        OVERHEAD_BYTES + self.topic.len() + 2 * self.payload.len()
    }

    /// The request that records the event the message describes, if that is within `limits`.
    pub(super) fn request(&self, limits: &Limits) -> Result<Append, Refused> {
        let topic = Topic::parse(&self.topic)?;
        if self.payload.len() < self.size {
            return Err(Refused::TooLarge);
        }
        let (stream, event) = match topic {
            Topic::Telemetry(user_id, device_id) => {
                let device = DeviceRef { user_id: &user_id, device_id: &device_id };
                let (id, reading) =
                    Reading::from_message(limits, device, &self.payload, self.received_at)?;
                count_unusable("mqtt", &reading);
                (device_stream(device), NewEvent::with_id(id, &Event::ReadingRecorded(reading))?)
            }
            Topic::Status(user_id, device_id) => {
                let stream = device_stream(DeviceRef { user_id: &user_id, device_id: &device_id });
                let (id, event) = presence::read(user_id, device_id, &self.payload)
                    .map_err(Refused::NotAStatus)?;
                (stream, NewEvent::with_id(id, &event)?)
            }
            Topic::Config(user_id) => {
                let scope = Scope::User(user_id.as_str().into());
                let config = Config::parse(&self.payload).map_err(Refused::Rules)?;
                // A new id each time: setting the same rules again may revert others set in between.
                let id = Uuid::now_v7();
                let event = NewEvent::with_id(id, &RulesEvent::configured(&scope, config))?;
                (rules_stream(&scope), event)
            }
            Topic::Host(host) => {
                let (id, sample) =
                    Sample::from_message(&limits.time, &host, &self.payload, self.received_at)?;
                (host::stream(&host), NewEvent::with_id(id, &host::Event::HostSampled(sample))?)
            }
        };
        Ok(Append::to(stream, ExpectedVersion::Any, vec![event]))
    }

    /// The request that records the rejection. The caller chooses `id`, so that a request whose
    /// outcome is unknown can be retried.
    pub(super) fn rejection(&self, reason: &Refused, id: Uuid) -> Result<Append, CodecError> {
        let mut rejected = MessageRejected::new(&self.topic, &self.payload, reason);
        rejected.size = self.size as u64;
        let events = vec![NewEvent::with_id(id, &Event::MessageRejected(rejected))?];
        let stream = rejection_stream(SOURCE);
        Ok(Append::to(stream, ExpectedVersion::Any, events))
    }
}

/// Why a message is rejected.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Topic(#[from] InvalidTopic),
    #[error("the message is longer than {} bytes", Reading::MAX_BYTES)]
    TooLarge,
    #[error(transparent)]
    Reading(#[from] InvalidReading),
    #[error(transparent)]
    Sample(#[from] InvalidSample),
    #[error("invalid alert rules: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<Fault>),
    #[error("invalid device status: {0}")]
    NotAStatus(ReadError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The log cannot store it: an escaped NUL, for example.
    #[error("{0}")]
    Log(AppendError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELEMETRY: &str = "users/u/devices/d/telemetry";

    const SAMPLE: &[u8] = br#"{"time": "2023-11-14T22:13:20Z", "users": 1, "load": [0, 0, 0],
        "storage": {"total_bytes": 3, "used_bytes": 1, "free_bytes": 1},
        "memory": {"total_bytes": 3, "used_bytes": 1}}"#;

    fn message(topic: &str, payload: &[u8]) -> Message {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        Message::new(topic.as_bytes(), payload, payload.len(), now)
    }

    fn refused(topic: &str, payload: &[u8]) -> String {
        message(topic, payload).request(&Limits::DEFAULT).unwrap_err().to_string()
    }

    #[test]
    fn a_reading_goes_to_its_devices_stream_whatever_that_holds() {
        let request = message(TELEMETRY, br#"{"sequence_id": 1, "temperature": 21.5}"#)
            .request(&Limits::DEFAULT)
            .unwrap();
        let [part] = &request.streams[..] else { panic!("one stream") };
        assert_eq!(part.stream.as_str(), "device-u~d");
        assert_eq!(part.expected, ExpectedVersion::Any);
        assert_eq!(&*part.events[0].encoded.event_type, "reading_recorded");
    }

    #[test]
    fn a_sample_goes_to_its_hosts_stream() {
        let request = message("hosts/web-1/metrics", SAMPLE).request(&Limits::DEFAULT).unwrap();
        let [part] = &request.streams[..] else { panic!("one stream") };
        assert_eq!(part.stream.as_str(), "host-web-1");
        assert_eq!(&*part.events[0].encoded.event_type, "host_sampled");
    }

    #[test]
    fn a_redelivered_message_has_the_same_event_id() {
        for (topic, payload) in [
            (TELEMETRY, br#"{"sequence_id": 1}"#.as_slice()),
            ("users/u/devices/d/status", br#"{"online": true, "session_seq": 7}"#),
            ("hosts/h/metrics", SAMPLE),
        ] {
            let first = message(topic, payload);
            let mut again = first.clone();
            again.received_at += chrono::TimeDelta::minutes(5);
            let id = |message: &Message| {
                message.request(&Limits::DEFAULT).unwrap().streams[0].events[0].id
            };
            assert_eq!(id(&first), id(&again));
        }
    }

    #[test]
    fn a_rejection_states_its_reason() {
        assert!(refused("users/u/settings", b"{}").contains("unknown topic"));
        let faulty = refused("users/u/config", br#"{"rules": [{"key": "x", "operator": ">"}]}"#);
        assert!(faulty.contains("/rules/0/threshold"), "{faulty}");
        assert!(refused("users/a b/devices/d/telemetry", b"{}").contains("letters, digits"));
        assert!(refused(TELEMETRY, b"nonsense").contains("not a reading"));
        assert!(refused("users/u/devices/d/status", b"offline").contains("invalid device status"));
        assert!(refused("hosts/h/metrics", b"nonsense").contains("not a host sample"));
    }

    #[test]
    fn an_oversized_payload_is_rejected_and_its_beginning_kept() {
        let message = message(TELEMETRY, &vec![b'x'; 2 * 1024 * 1024]);
        assert!(message.weight() < 16 * 1024, "only a prefix is kept");
        let reason = message.request(&Limits::DEFAULT).unwrap_err();
        assert!(reason.to_string().contains("longer than 65536 bytes"));
        let rejection = message.rejection(&reason, Uuid::nil()).unwrap();
        assert_eq!(rejection.streams[0].stream.as_str(), "rejection-mqtt");
        let event: serde_json::Value =
            serde_json::from_str(&rejection.streams[0].events[0].encoded.data).unwrap();
        assert_eq!(event["size"], 2 * 1024 * 1024);
        assert_eq!(event["payload"].as_str().unwrap().len(), MessageRejected::MAX_PAYLOAD_BYTES);
    }
}
