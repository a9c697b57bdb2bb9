//! Decodes a message: topic, payload, time and delivery become the append request that records it.
//! Pure.

use std::fmt;

use domain::alerts::{Config, RulesEvent, Scope, rules_stream};
use domain::host::{self, Sample};
use domain::telemetry::{DeviceId, DeviceRef, Event, Limits, Reading, UserId, device_stream};
use eventsourcing::fact;
use eventstore::{Append, ExpectedVersion, NewEvent};

use super::mapping::{Mapped, Mappings};
use super::message::{Message, Refused};
use super::presence;
use super::topics::{InvalidTopic, Topic};

/// What the bridge makes of messages: its limits on readings, and the topic mappings.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    /// Limits on readings.
    pub limits: Limits,
    /// Readings on topics other than those of the bridge.
    pub mappings: Mappings,
}

/// What to do with a message.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each message")]
pub(super) enum Action {
    /// Append the request, which has one event.
    Record {
        append: Append,
        /// Whether another message may have the same event id: one with the same content. A known id
        /// then is a duplicate only of a message that the broker delivers again.
        recurs: bool,
        /// Known fields of a reading whose value is not usable.
        unusable: Vec<&'static str>,
    },
    /// Acknowledge the message and record nothing.
    Ignore(Ignored),
}

/// Why nothing is recorded of a message that is not wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ignored {
    /// An empty payload on any topic clears the retained message of the topic.
    Empty,
    /// A topic mapping says so.
    ByMapping,
    /// A retained message of a mapped topic has neither a time nor a sequence number: when it was
    /// measured, and whether it was recorded before, is unknown.
    RetainedWithoutTime,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty payload clears a retained message",
            Self::ByMapping => "the topic mapping ignores the message",
            Self::RetainedWithoutTime => {
                "a retained message without a time and a sequence number does not say when it was \
                 measured"
            }
        })
    }
}

impl Decoder {
    /// Decodes a message.
    pub(super) fn decode(&self, message: &Message) -> Result<Action, Refused> {
        if message.payload.is_empty() {
            return Ok(Action::Ignore(Ignored::Empty));
        }
        let topic = match Topic::parse(&message.topic) {
            Err(InvalidTopic::Unknown) => return self.mapped(message),
            topic => topic?,
        };
        if message.is_truncated() {
            return Err(Refused::TooLarge);
        }
        match topic {
            Topic::Telemetry(user_id, device_id) => {
                let device = DeviceRef { user_id: &user_id, device_id: &device_id };
                let (payload, received_at) = (&message.payload, message.received_at);
                let (id, reading) =
                    Reading::from_message(&self.limits, device, payload, received_at)?;
                let unusable = reading.unusable_fields().collect();
                let event = NewEvent::with_id(id, &Event::ReadingRecorded(reading))?;
                let append = Append::to(device_stream(device), ExpectedVersion::Any, vec![event]);
                Ok(Action::Record { append, recurs: false, unusable })
            }
            Topic::Status(user_id, device_id) => status(message, user_id, device_id),
            Topic::Config(user_id) => config(message, &user_id),
            Topic::Host(host) => {
                let (time, received_at) = (&self.limits.time, message.received_at);
                let (id, sample) =
                    Sample::from_message(time, &host, &message.payload, received_at)?;
                let event = NewEvent::with_id(id, &host::Event::HostSampled(sample))?;
                let append = Append::to(host::stream(&host), ExpectedVersion::Any, vec![event]);
                Ok(Action::Record { append, recurs: false, unusable: Vec::new() })
            }
        }
    }

    fn mapped(&self, message: &Message) -> Result<Action, Refused> {
        let mapping = self.mappings.find(&message.topic).ok_or(InvalidTopic::Unknown)?;
        if message.is_truncated() {
            return Err(Refused::TooLarge);
        }
        let Message { topic, payload, received_at, delivery, .. } = message;
        let packet_id = delivery.packet_id;
        let Mapped::Reading { id, reading, is_identified, .. } =
            mapping.map(&self.limits, topic, payload, packet_id, *received_at)?
        else {
            return Ok(Action::Ignore(Ignored::ByMapping));
        };
        if delivery.retained && !is_identified {
            return Ok(Action::Ignore(Ignored::RetainedWithoutTime));
        }
        let stream = device_stream(reading.device());
        let event = NewEvent::with_id(id, &Event::ReadingRecorded(*reading))?;
        let append = Append::to(stream, ExpectedVersion::Any, vec![event]);
        Ok(Action::Record { append, recurs: !is_identified, unusable: Vec::new() })
    }
}

/// A birth or a will. A session counter wraps or restarts, so another one may have the same content: the
/// id is derived from the content and the packet id, which a redelivery repeats. A retained one says what
/// was so at some time, and counts for a device of which nothing is recorded.
fn status(message: &Message, user_id: UserId, device_id: DeviceId) -> Result<Action, Refused> {
    let stream = device_stream(DeviceRef { user_id: &user_id, device_id: &device_id });
    let (id, event) =
        presence::read(user_id, device_id, &message.payload).map_err(Refused::NotAStatus)?;
    let id = match message.delivery.packet_id {
        0 => id,
        packet_id => {
            let packet_id = i64::from(packet_id);
            fact::id(&["status", &id.to_string()], &[packet_id], packet_id)
        }
    };
    let event = NewEvent::with_id(id, &event)?;
    let append = Append::to(stream, expected(message), vec![event]);
    Ok(Action::Record { append, recurs: true, unusable: Vec::new() })
}

/// A retained message is recorded only where nothing is: what is there is newer.
fn expected(message: &Message) -> ExpectedVersion {
    if message.delivery.retained { ExpectedVersion::NoStream } else { ExpectedVersion::Any }
}

/// The rules of a user. The id is derived from the content and the packet id, which a redelivery
/// repeats: it must not replace rules that were set since. A new message sets its rules also if they
/// were set before, because others may have been set in between. A retained message is as old as it may
/// be, and sets the rules of a user who has none.
fn config(message: &Message, user_id: &UserId) -> Result<Action, Refused> {
    let scope = Scope::User(user_id.as_str().into());
    let config = Config::parse(&message.payload).map_err(Refused::Rules)?;
    let content = String::from_utf8_lossy(&message.payload);
    let packet_id = i64::from(message.delivery.packet_id);
    let texts = ["rules", user_id.as_str(), &*content];
    let id = fact::id(&texts, &[packet_id], packet_id);
    let event = NewEvent::with_id(id, &RulesEvent::configured(&scope, config))?;
    let append = Append::to(rules_stream(&scope), expected(message), vec![event]);
    Ok(Action::Record { append, recurs: true, unusable: Vec::new() })
}

#[cfg(test)]
mod tests;
