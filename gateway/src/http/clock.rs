//! Times as Postgres stores them: to the microsecond. A response shows the time that a later query
//! will show.

use chrono::{DateTime, Utc};

/// The current time, to the microsecond.
pub(super) fn now() -> DateTime<Utc> {
    to_micros(Utc::now())
}

/// `time` without the part below a microsecond.
pub(super) fn to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(time)
}
