//! What a projection is.

use std::time::Duration;

use eventsourcing::Recorded;
use eventsourcing::event::EventSet;
use eventstore::RawEvent;
use sqlx::PgConnection;

/// A read model: a pure function from events to changes, and one statement a table that writes
/// them.
pub trait Projection: Send + Sync + 'static {
    /// Name of the consumer, and of the schema its tables are in.
    const NAME: &'static str;
    /// Stream categories it reads; all others pass it by.
    const CATEGORIES: &'static [&'static str];
    /// Raised whenever [`Projection::DDL`] or what stands in its rows becomes another: a rebuild
    /// then makes the model anew beside the one that serves, from the log.
    const VERSION: i32 = 1;
    /// What only the owner of the database can do for it. Run at every migration, before its tables
    /// are made.
    const PREPARE: Option<&'static str> = None;
    /// Creates its tables, in the schema the connection points at. Run once.
    const DDL: &'static str;
    /// Keys that [`Projection::write`] does not rest on, by name: a rebuild makes them when all rows
    /// are there, like every index that is not unique. Writes find rows by the other keys only.
    const FILLED_WITHOUT: &'static [&'static str] = &[];
    /// Least time between the starts of two batches: where a batch costs much whatever its size,
    /// fewer and larger ones leave the processor to others. The first after a pause never waits.
    const PACE: Duration = Duration::ZERO;
    /// The events it understands.
    type Event: EventSet;
    /// What a batch of events comes to.
    type Changes: Default + Send;

    /// Takes one event into account. No I/O: it is tested without a database, and a rebuild is
    /// the same function on the same events.
    fn project(changes: &mut Self::Changes, event: Recorded<Self::Event>);

    /// Writes a batch's changes, set-wise, in the runner's transaction.
    fn write(
        changes: Self::Changes,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// An event this build cannot read.
#[derive(Debug, thiserror::Error)]
#[error("event {} cannot be read", .position.0)]
pub struct ProjectError {
    pub position: eventsourcing::Position,
    #[source]
    pub source: eventsourcing::event::CodecError,
}

/// What `events` come to, or the first that cannot be read.
pub(crate) fn project<'a, P: Projection>(
    events: impl IntoIterator<Item = &'a RawEvent>,
) -> Result<P::Changes, ProjectError> {
    let mut changes = P::Changes::default();
    for raw in events {
        let event = raw
            .decode::<P::Event>()
            .map_err(|source| ProjectError { position: raw.position, source })?;
        P::project(&mut changes, event);
    }
    Ok(changes)
}
