//! Names of presence: why a device is online or offline.

use domain::telemetry::presence::StatusReason;

use crate::by_name::{ByName, Named};

/// Why a device is online or offline, in a row.
pub type ReasonName = ByName<StatusReason>;

impl Named for StatusReason {
    const SCHEMA: &'static str = "PresenceReason";
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }
}
