//! Decisions: what is said of a device's presence by whoever watches it. Their ids are derived, so
//! that of two who watch, or of one who was interrupted, each says it once.

use uuid::Uuid;

use super::super::{Connection, DeviceRef, Event, Reason};
use super::Presence;
use eventsourcing::event::Position;
use eventsourcing::fact;

/// A decision, and the name of the transition it makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub id: Uuid,
    pub event: Event,
}

impl Decision {
    /// What to say of a device that is silent for too long, if it is online; of one that was heard,
    /// if it is not.
    pub fn on(device: DeviceRef<'_>, presence: &Presence) -> Option<Self> {
        if presence.is_online() {
            let last = presence.last_position();
            return Some(Self::new(device, presence, Reason::Inactive, last, last));
        }
        let changed = presence.status.map(|status| status.position).unwrap_or_default();
        let read = presence.last_reading.filter(|read| *read > changed)?;
        // Named after what it ends: whoever knows of a later reading means the same transition.
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
