//! Presence decisions: events that the presence watcher appends when readings, or their absence,
//! contradict the known presence. Event ids are derived, so two watchers, or a restarted one, append
//! each decision once.

use uuid::Uuid;

use super::super::{Connection, DeviceRef, Event, Reason};
use super::Presence;
use eventsourcing::event::Position;
use eventsourcing::fact;

/// A decision, with an event id that identifies the transition.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Event id.
    pub id: Uuid,
    /// `DeviceConnected` or `DeviceDisconnected` with a reason.
    pub event: Event,
}

impl Decision {
    /// Returns the decision that reverses `presence`: *inactive* for an online device, *heard* for an
    /// offline one with a reading since its presence changed. Returns `None` if it has no such reading.
    /// The caller checks that the device has been silent long enough, or that [`super::WILL_GRACE`] is
    /// over.
    pub fn on(device: DeviceRef<'_>, presence: &Presence) -> Option<Self> {
        if presence.is_online() {
            let last = presence.last_position();
            return Some(Self::new(device, presence, Reason::Inactive, last, last));
        }
        let changed = presence.status.map(|status| status.position).unwrap_or_default();
        let read = presence.last_reading.filter(|read| *read > changed)?;
        // The id is derived from the status it ends, so watchers with different readings agree on it.
        Some(Self::new(device, presence, Reason::Heard, read, changed))
    }

    fn new(
        device: DeviceRef<'_>,
        presence: &Presence,
        reason: Reason,
        rests_on: Position,
        id_position: Position,
    ) -> Self {
        let word = match reason {
            Reason::Inactive => "inactive",
            Reason::Heard => "heard",
        };
        let texts = ["presence", device.user_id.as_str(), device.device_id.as_str(), word];
        let id = fact::id(&texts, &[id_position.0], id_position.0);
        let session = presence.session.as_ref();
        let connection = Connection {
            user_id: device.user_id.clone(),
            device_id: device.device_id.clone(),
            session_seq: session.map_or(0, |session| session.seq),
            boot_id: session.map(|session| session.boot_id.clone()).unwrap_or_default(),
            reason: Some(reason),
            rests_on: Some(rests_on),
        };
        let event = match reason {
            Reason::Inactive => Event::DeviceDisconnected(connection),
            Reason::Heard => Event::DeviceConnected(connection),
        };
        Self { id, event }
    }
}
