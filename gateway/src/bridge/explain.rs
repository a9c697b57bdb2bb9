//! What would become of a message, in words: for operators who set up devices and topic mappings.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use super::decoder::{Action, Decoder};
use super::mapping::Mapped;
use super::message::{Delivery, Message};
use super::topics::{InvalidTopic, Topic};

/// What would become of a message.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// `recorded`, `ignored` or `rejected`.
    pub outcome: &'static str,
    /// Why it is ignored or rejected; empty for a message that is recorded.
    pub reason: String,
    /// The topic filter that matches: one of the bridge or of a topic mapping; empty if none does.
    pub filter: String,
    /// Whether that filter is one of a topic mapping.
    pub mapped: bool,
    /// Stream of the event that would be recorded; empty if there is none.
    pub stream: String,
    /// Type of that event; empty if there is none.
    pub event_type: String,
    /// Data of that event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// What makes two messages the same, so that the second one is not recorded.
    pub identity: &'static str,
    /// Remarks: parts that the mapping names and the message does not have.
    pub notes: Vec<String>,
}

/// Says what would become of a message, without a broker and without the log.
pub fn explain(
    decoder: &Decoder,
    topic: &str,
    payload: &[u8],
    delivery: Delivery,
    received_at: DateTime<Utc>,
) -> Explanation {
    let message = Message::new(topic.as_bytes(), payload, payload.len(), received_at);
    let message = message.delivered(delivery);
    let (filter, mapped) = filter_of(decoder, topic);
    let mut explained = Explanation {
        outcome: "rejected",
        reason: String::new(),
        filter,
        mapped,
        stream: String::new(),
        event_type: String::new(),
        data: None,
        identity: "",
        notes: notes(decoder, &message),
    };
    match decoder.decode(&message) {
        Ok(Action::Record { append, recurs, .. }) => {
            explained.outcome = "recorded";
            explained.identity = if recurs {
                "content and packet id: a message with the same content is recorded again, unless the \
                 broker marks it as delivered before"
            } else {
                "what the message holds: a second message with the same identity is a duplicate"
            };
            for part in append.streams {
                explained.stream = part.stream.to_string();
                for event in part.events {
                    explained.event_type = event.encoded.event_type.to_string();
                    explained.data = RawValue::from_string(event.encoded.data.to_string()).ok();
                }
            }
        }
        Ok(Action::Ignore(ignored)) => {
            (explained.outcome, explained.reason) = ("ignored", ignored.to_string());
        }
        Err(refused) => explained.reason = refused.to_string(),
    }
    explained
}

/// The filter by which a message on `topic` is decoded, and whether it is one of a mapping.
fn filter_of(decoder: &Decoder, topic: &str) -> (String, bool) {
    let own = super::topics::FILTERS.iter().find(|own| super::mapping::filter::overlap(own, topic));
    match (own, decoder.mappings.find(topic)) {
        (Some(own), _) => ((*own).to_owned(), false),
        (None, Some(mapping)) => (mapping.filter().to_owned(), true),
        (None, None) => (String::new(), false),
    }
}

fn notes(decoder: &Decoder, message: &Message) -> Vec<String> {
    let unknown = matches!(Topic::parse(&message.topic), Err(InvalidTopic::Unknown));
    let Some(mapping) = decoder.mappings.find(&message.topic).filter(|_| unknown) else {
        return Vec::new();
    };
    let Message { topic, payload, received_at, delivery, .. } = message;
    match mapping.map(&decoder.limits, topic, payload, delivery.packet_id, *received_at) {
        Ok(Mapped::Reading { notes, .. }) => notes.iter().map(ToString::to_string).collect(),
        Ok(Mapped::Ignored) | Err(_) => Vec::new(),
    }
}
