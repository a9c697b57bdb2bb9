//! What a context supplies for its read model.

use std::time::Duration;

use eventsourcing::Recorded;
use eventsourcing::event::{CodecError, EventSet};
use eventstore::RawEvent;
use sqlx::PgConnection;

/// A read model: a pure function from events to changes, and one statement a table that writes
/// them.
pub trait Projection: Send + Sync + 'static {
    /// Name of the consumer, and of the schema that holds the tables.
    const NAME: &'static str;
    /// Stream categories the projection follows; events of all others are left out.
    const CATEGORIES: &'static [&'static str];
    /// Version of the tables. To be raised with every change of [`Projection::DDL`] or of what rows
    /// hold: a rebuild then fills new tables from the log while the old ones serve.
    const VERSION: i32 = 1;
    /// Statements that only the owner of the database may run. Every migration runs them, before it
    /// creates the tables.
    const PREPARE: Option<&'static str> = None;
    /// Creates the tables, in the schema the connection points at. Run once.
    const DDL: &'static str;
    /// Names of constraints that [`Projection::write`] does not need: a rebuild creates them after it
    /// has filled the tables, like every index that is not unique. Writes find rows by the other keys.
    const FILLED_WITHOUT: &'static [&'static str] = &[];
    /// Whether an event depends on the earlier ones of its stream. False for independent facts: one that
    /// cannot be applied is then parked alone, and the later ones of its stream go on.
    const ORDERED: bool = true;
    /// Least time between the starts of two batches. Where a batch costs much whatever its size,
    /// fewer and larger batches leave the processor to others. The first after a pause never waits.
    const PACE: Duration = Duration::ZERO;
    /// The events the projection decodes.
    type Event: EventSet;
    /// What a batch of events changes.
    type Changes: Default + Send;

    /// Takes one event into account. Pure: it is tested without a database, and a rebuild is the same
    /// function of the same events.
    fn project(changes: &mut Self::Changes, event: Recorded<Self::Event>);

    /// Writes a batch's changes, set-wise, in the transaction that moves the checkpoint.
    fn write(
        changes: Self::Changes,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Decodes one event and takes it into account.
pub(crate) fn project<P: Projection>(
    changes: &mut P::Changes,
    raw: &RawEvent,
) -> Result<(), CodecError> {
    P::project(changes, raw.decode()?);
    Ok(())
}
