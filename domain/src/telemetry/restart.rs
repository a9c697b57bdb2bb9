//! Restarts of a device's sequence counter. A reading whose sequence number was recorded before with
//! other values is of a counter that has restarted, if the device was born or silent in between.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Event, Reading};
use eventsourcing::event::Position;
use eventsourcing::fact;
use eventsourcing::json::Plain;

/// Prefix of the boot ids of restarted counters.
const PREFIX: &str = "restart-";

/// A recorded event of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Recent {
    /// Its position.
    pub position: Position,
    /// Time of its receipt.
    pub recorded_at: DateTime<Utc>,
    /// The event.
    pub event: Event,
}

impl Recent {
    /// Returns whether the event is a reading with the sequence number and the values of `reading`.
    pub fn is_repeated_by(&self, reading: &Reading) -> bool {
        match &self.event {
            Event::ReadingRecorded(known) => {
                known.sequence_id == reading.sequence_id && known.has_values_of(reading)
            }
            Event::DeviceConnected(_)
            | Event::DeviceDisconnected(_)
            | Event::MessageRejected(_) => false,
        }
    }
}

/// Returns the position of the event after which the device's counter has restarted, if it has since the
/// reading at `recorded`. `newest` are the newest events of the device, newest first, at the time `now`;
/// a device that sends nothing for longer than `silence` may have restarted.
pub fn restarted_since(
    recorded: Position,
    newest: &[Recent],
    now: DateTime<Utc>,
    silence: Duration,
) -> Option<Position> {
    let silence = TimeDelta::from_std(silence).unwrap_or(TimeDelta::MAX);
    let mut next = now;
    for Recent { position, recorded_at, event } in newest {
        let is_of_device = match event {
            Event::ReadingRecorded(_) => true,
            Event::DeviceConnected(connection) | Event::DeviceDisconnected(connection) => {
                connection.reason.is_none()
            }
            Event::MessageRejected(_) => false,
        };
        if !is_of_device {
            continue;
        }
        if *position < recorded {
            return None;
        }
        if next - *recorded_at > silence {
            return Some(*position);
        }
        let restart = match event {
            Event::DeviceConnected(_) => Some(*position),
            Event::ReadingRecorded(reading) => reading.restarted_at(),
            Event::DeviceDisconnected(_) | Event::MessageRejected(_) => None,
        };
        if let Some(restart) = restart.filter(|restart| *restart > recorded) {
            return Some(restart);
        }
        next = *recorded_at;
    }
    None
}

impl Reading {
    /// Returns whether both readings hold the same values, whenever they were received.
    pub fn has_values_of(&self, other: &Self) -> bool {
        let fields =
            |reading: &Self| serde_json::from_str::<Plain>(reading.extra_data.as_str()).ok();
        let same_fields = self.extra_data == other.extra_data
            // Written by another version, in another order.
            || (fields(self).is_some() && fields(self) == fields(other));
        same_fields && (self.temperature, self.battery) == (other.temperature, other.battery)
    }

    /// Returns this reading, whose event id is `id`, as one of the counter that restarted after the
    /// event at `position`, with its event id. The boot id tells both counters apart.
    #[must_use]
    pub fn of_restart(self, id: Uuid, position: Position) -> (Uuid, Self) {
        let boot_id = format!("{PREFIX}{position}");
        let id = fact::id(&[&id.to_string(), &boot_id], &[], self.sequence_id);
        (id, Self { boot_id, ..self })
    }

    /// The position after which the counter restarted.
    fn restarted_at(&self) -> Option<Position> {
        self.boot_id.strip_prefix(PREFIX)?.parse().ok().map(Position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The event of a golden file.
    fn event(event_type: &str) -> Event {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/golden/telemetry/{event_type}.v1.json");
        let data = std::fs::read_to_string(path).unwrap();
        eventsourcing::event::decode(event_type, 1, &data).unwrap()
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    /// Events of these types at position and second, newest first.
    fn newest(events: &[(i64, i64, &str)]) -> Vec<Recent> {
        let recent = |(position, second, kind): &(i64, i64, &str)| {
            let event = match kind.strip_prefix("restart") {
                Some(_) => {
                    let Event::ReadingRecorded(reading) = event("reading_recorded") else {
                        unreachable!("the golden event of a reading")
                    };
                    Event::ReadingRecorded(Reading { boot_id: (*kind).to_owned(), ..reading })
                }
                None => event(kind),
            };
            Recent { position: Position(*position), recorded_at: at(*second), event }
        };
        events.iter().map(recent).collect()
    }

    #[test]
    fn a_counter_restarts_with_a_birth_or_after_silence() {
        let (reading, birth) = ("reading_recorded", "device_connected");
        let silence = Duration::from_mins(1);
        for (events, restart) in [
            (&[(7, 99, reading), (5, 90, reading)][..], None),
            // A birth since, or one before.
            (&[(7, 99, reading), (6, 98, birth), (5, 90, reading)], Some(6)),
            (&[(7, 99, reading), (4, 98, birth)], None),
            // Silence since, now and before another reading.
            (&[(5, 30, reading)], Some(5)),
            (&[(7, 99, reading), (5, 30, reading)], Some(5)),
            (&[(7, 99, reading), (4, 30, reading)], None),
            // A restart that was found before, of a birth too long ago to be among the newest.
            (&[(9, 99, "restart-6"), (8, 98, "restart-6")], Some(6)),
            (&[(9, 99, "restart-3"), (8, 98, "restart-3"), (4, 97, reading)], None),
            (&[], None),
        ] {
            let found = restarted_since(Position(5), &newest(events), at(100), silence);
            assert_eq!(found, restart.map(Position), "{events:?}");
        }
    }

    #[test]
    fn a_reading_of_a_restarted_counter_has_an_id_of_its_own() {
        let Event::ReadingRecorded(reading) = event("reading_recorded") else {
            panic!("a reading")
        };
        let id = Uuid::from_u128(1);
        let (first, of_restart) = reading.clone().of_restart(id, Position(6));
        assert_eq!(of_restart.restarted_at(), Some(Position(6)));
        assert_eq!(reading.clone().of_restart(id, Position(6)).0, first, "a redelivery");
        assert_ne!(reading.of_restart(id, Position(7)).0, first);
    }
}
