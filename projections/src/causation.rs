//! Which events belong by_correlation: those that follow from one request, and what follows from what.
//! It reads every context, and of each event only what surrounds it.

use eventsourcing::event::{CodecError, EventSet};
use eventsourcing::{Position, Recorded};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::projection::Projection;

/// The read model of causes and effects.
#[derive(Debug)]
pub struct Causation;

/// Whatever happened.
#[derive(Debug)]
pub struct AnyEvent;

impl EventSet for AnyEvent {
    fn read(_: &str, _: i16, _: &str) -> Result<Self, CodecError> {
        Ok(Self)
    }
}

/// What a batch of events comes to. Facts that nobody asked for and nothing led to are not in it.
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
    /// All.
    const CATEGORIES: &'static [&'static str] = &[];
    const DDL: &'static str = include_str!("causation.sql");
    type Event = AnyEvent;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<AnyEvent>) {
        let (correlation, causation) = (event.metadata.correlation_id, event.metadata.causation_id);
        if correlation.is_some() || causation.is_some() {
            let (position, id) = (event.position, event.id);
            changes.0.push(NewLink { position, id, correlation, causation });
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if changes.0.is_empty() {
            return Ok(());
        }
        let links = changes.0;
        sqlx::query(
            "insert into link (position, event_id, correlation_id, causation_id)
             select * from unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::uuid[])",
        )
        .bind(links.iter().map(|link| link.position.0).collect::<Vec<_>>())
        .bind(links.iter().map(|link| link.id).collect::<Vec<_>>())
        .bind(links.iter().map(|link| link.correlation).collect::<Vec<_>>())
        .bind(links.iter().map(|link| link.causation).collect::<Vec<_>>())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// An event, and the one it follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Link {
    pub position: i64,
    pub event_id: Uuid,
    pub causation_id: Option<Uuid>,
}

/// What belongs to `correlation`, in order; at most `limit`.
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
