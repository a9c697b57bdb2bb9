//! Events as they are shown outside: over HTTP and on the command line, without what would help to
//! guess a password.

use chrono::{DateTime, Utc};
use domain::users;
use eventsourcing::Metadata;
use eventstore::RawEvent;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::Caller;

/// An event of the log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(super) struct EventRow {
    /// Place in the log: gapless, in commit order.
    position: i64,
    /// Id of the event.
    id: Uuid,
    /// Stream of the event: `category-key`.
    stream_id: String,
    /// Number of events in the stream up to and including this one.
    version: i64,
    /// Business context of the event.
    context: &'static str,
    /// What happened, such as `work_demanded`.
    #[serde(rename = "type")]
    event_type: String,
    /// Version of the schema of `data`.
    schema_version: i16,
    /// When the event was committed.
    recorded_at: DateTime<Utc>,
    /// Content of the event, by its type.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
    /// Correlation, causation, actor and trace. Empty for callers who are neither the actor nor
    /// operators.
    #[schema(value_type = Value)]
    metadata: Box<RawValue>,
}

impl EventRow {
    /// The event as it may be shown; fails if its data or metadata are not JSON.
    pub(super) fn new(event: &RawEvent) -> serde_json::Result<Self> {
        let raw = |text: &str| RawValue::from_string(text.to_owned());
        let context = domain::context_of(event.stream.category());
        // Operators may see everything except what would help to guess a password: see ADR 9.
        let data = if context.is_some_and(|context| context.name == users::CONTEXT.name) {
            without_secret(&event.data)?
        } else {
            raw(&event.data)?
        };
        Ok(Self {
            position: event.position.0,
            id: event.id,
            stream_id: event.stream.to_string(),
            version: event.version.0,
            context: context.map_or("unknown", |context| context.name),
            event_type: event.event_type.to_string(),
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            data,
            metadata: raw(&event.metadata)?,
        })
    }

    /// The event as this caller may see it.
    pub(super) fn seen_by(caller: &Caller, event: &RawEvent) -> serde_json::Result<Self> {
        let mut row = Self::new(event)?;
        if !caller.sees_all() {
            let metadata: Metadata = serde_json::from_str(&event.metadata)?;
            if metadata.actor.is_none_or(|actor| !caller.sees(&actor)) {
                row.metadata = RawValue::from_string("{}".to_owned())?;
            }
        }
        Ok(row)
    }
}

/// The data of an event of users without its secret member.
fn without_secret(data: &str) -> serde_json::Result<Box<RawValue>> {
    let mut members: serde_json::Map<String, Value> = serde_json::from_str(data)?;
    members.remove(users::SECRET_MEMBER);
    serde_json::value::to_raw_value(&members)
}

/// The event as one line of JSON; none if it is not JSON, which the log does not accept.
pub fn line(event: &RawEvent) -> Option<String> {
    serde_json::to_string(&EventRow::new(event).ok()?).ok()
}

/// The event with its data as it may be shown; none if the data is not JSON.
pub fn shown(mut event: RawEvent) -> Option<RawEvent> {
    if users::CONTEXT.categories.contains(&event.stream.category()) {
        event.data = Box::<str>::from(without_secret(&event.data).ok()?);
    }
    Some(event)
}
