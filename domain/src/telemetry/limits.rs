//! Limits on readings. Every door checks them, so that whatever is recorded fits the read models, their
//! indexes and the JSON parsers on the way.

use std::time::Duration;

use crate::time_window::TimeWindow;
use eventsourcing::json::{Numbers, Rules};

/// Maximum payload of one reading in bytes.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// Maximum length of a boot id in bytes.
pub(super) const MAX_BOOT_ID_BYTES: usize = 64;

/// Limits on what a reading may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum nesting depth of objects and arrays; the reading itself is the first level. At most
    /// [`Self::MAX_DEPTH`].
    pub depth: usize,
    /// Maximum number of fields besides the known ones. At most [`Self::MAX_FIELDS`].
    pub fields: usize,
    /// Maximum length of a field name in bytes, at any depth. At most [`Self::MAX_NAME_BYTES`].
    pub name_bytes: usize,
    /// Accepted times.
    pub time: TimeWindow,
    /// Silence after which the sequence counter of a device without boot ids may have restarted.
    pub restart_silence: Duration,
}

impl Limits {
    /// The limits of an unconfigured process.
    pub const DEFAULT: Self = Self {
        depth: 32,
        fields: 64,
        name_bytes: 200,
        time: TimeWindow::DEFAULT,
        restart_silence: Duration::from_mins(5),
    };
    /// Largest configurable depth. Parsers of JSON stop at 127 levels, and an event adds some.
    pub const MAX_DEPTH: usize = 64;
    /// Largest configurable number of fields. Each numeric field has rows of its own.
    pub const MAX_FIELDS: usize = 1024;
    /// Largest configurable length of a name in bytes. Names are in an index of Postgres, whose rows
    /// have at most 2,704 bytes.
    pub const MAX_NAME_BYTES: usize = 1024;

    /// Returns the rules of the JSON of a reading.
    pub(super) fn rules(&self) -> Rules {
        let Self { depth, name_bytes, .. } = *self;
        Rules { depth, name_bytes, nul: false, numbers: Numbers::Kept }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
