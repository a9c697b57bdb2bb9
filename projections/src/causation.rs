//! Causation: which events share a correlation, and which event each follows from. It reads the
//! envelope of every event and the data of none.

use eventsourcing::event::{CodecError, EventSet};
use eventsourcing::{Position, Recorded};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::columns::Columns;
use crate::projection::Projection;

/// The read model of causes and effects. Its stored name is `trace`.
#[derive(Debug)]
pub struct Causation;

/// An event of any type, without its data.
#[derive(Debug)]
pub struct AnyEvent;

impl EventSet for AnyEvent {
    fn read(_: &str, _: i16, _: &str) -> Result<Self, CodecError> {
        Ok(Self)
    }

    fn knows(_: &str, _: i16) -> bool {
        true
    }
}

/// The events of a batch that have a cause or a correlation. Facts from outside have neither.
#[derive(Debug, Default)]
pub struct Changes(Vec<NewLink>);

#[derive(Debug)]
struct NewLink {
    position: Position,
    id: Uuid,
    correlation: Option<Uuid>,
    causation: Option<Uuid>,
}

impl Projection for Causation {
    const NAME: &'static str = "trace";
    /// Every category.
    const CATEGORIES: &'static [&'static str] = &[];
    const DDL: &'static str = include_str!("causation.sql");
    const ORDERED: bool = false;
    type Event = AnyEvent;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<AnyEvent>) {
        let (correlation, causation) = (event.metadata.correlation_id, event.metadata.causation_id);
        if correlation.is_some() || causation.is_some() {
            let (position, id) = (event.position, event.id);
            changes.0.push(NewLink { position, id, correlation, causation });
        }
    }

    async fn write(
        Changes(links): Changes,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        Columns::of(&links)
            .column("position", |link| link.position.0)
            .column("event_id", |link| link.id)
            .column("correlation_id", |link| link.correlation)
            .column("causation_id", |link| link.causation)
            .insert("link", "", connection)
            .await
    }
}

/// An event and its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Link {
    /// Position of the event in the log.
    pub position: i64,
    /// Id of the event.
    pub event_id: Uuid,
    /// Id of the event it follows from; `None` if a request began it.
    pub causation_id: Option<Uuid>,
}

/// Lists at most `limit` events of `correlation`, by position.
pub async fn by_correlation(
    pool: &PgPool,
    correlation: Uuid,
    limit: i64,
) -> Result<Vec<Link>, sqlx::Error> {
    sqlx::query_as(
        "select position, event_id, causation_id from trace.link
         where correlation_id = $1 order by position limit $2",
    )
    .bind(correlation)
    .bind(limit)
    .fetch_all(pool)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::recorded;
    use eventsourcing::{Metadata, StreamId};

    #[test]
    fn only_events_with_a_cause_or_a_correlation_are_linked() {
        let stream = StreamId::new("device", "ada~attic");
        let mut changes = Changes::default();
        Causation::project(&mut changes, recorded(&stream, 1, AnyEvent));
        let correlation_id = Some(Uuid::from_u128(7));
        let metadata = Metadata { correlation_id, ..Metadata::default() };
        let event = Recorded { metadata, ..recorded(&stream, 2, AnyEvent) };
        Causation::project(&mut changes, event);
        assert_eq!(changes.0.len(), 1);
        assert_eq!(
            (changes.0[0].position, changes.0[0].correlation),
            (Position(2), correlation_id)
        );
    }
}
