//! The relay's cursor: the next sequence, and the last event of each context. Read from the stream,
//! and from the log where the stream no longer holds the event.

use std::collections::HashMap;

use eventsourcing::Position;
use uuid::Uuid;

use super::context_of::ContextOf;
use super::interrupted::Interrupted;
use crate::bus::Bus;
use crate::bus::message::PublishContext;
use crate::read::stream_tail::{StreamTail, last_position};
use crate::{EventStore, RawEvent, Unavailable};

/// The end of what has been published.
pub(crate) struct Cursor {
    tail: StreamTail,
    epoch: i64,
    position: Position,
    /// The last event published by this relay; none before the first.
    last: Option<Uuid>,
    /// Last position of each context published since.
    previous: HashMap<&'static str, Position>,
    /// Whether publishing began with the first event: other contexts have no event yet.
    from_the_start: bool,
}

impl Cursor {
    /// Reads where to resume. A stream that contradicts the log is purged, to be filled again.
    pub(crate) async fn resume(store: &EventStore, bus: &Bus) -> Result<Self, Interrupted> {
        let info = bus.ensure_stream().await?;
        let tail = match StreamTail::read(bus, &info).await? {
            Some(tail) if tail.has_lost_start(&info) => Err("it has lost its oldest events"),
            Some(tail) if !tail.matches_log(store).await? => Err("its history is not the log's"),
            Some(tail) => Ok(tail),
            None => Err("its last messages are not events"),
        };
        let tail = match tail {
            Ok(tail) => tail,
            Err(reason) => {
                tracing::error!(reason, "stream purged, filling it again from the log");
                bus.purge().await?;
                let info = bus.ensure_stream().await?;
                let tail = StreamTail::read(bus, &info).await?;
                tail.ok_or(Interrupted::Disturbed("another program publishes to it"))?
            }
        };
        Ok(Self {
            epoch: store.epoch().await?,
            position: tail.position(),
            last: None,
            previous: HashMap::new(),
            from_the_start: tail.position() <= Position::START,
            tail,
        })
    }

    /// The position up to which everything is published.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The sequence of `position`.
    pub(crate) fn sequence_of(&self, position: Position) -> u64 {
        self.tail.sequence_of(position)
    }

    /// The context in which to publish `event`, which follows the last one.
    pub(crate) async fn place(
        &mut self,
        store: &EventStore,
        bus: &Bus,
        context_of: ContextOf,
        event: &RawEvent,
    ) -> Result<PublishContext, Interrupted> {
        let context = context_of(event.stream.category());
        let previous = match self.previous.get(context) {
            Some(position) => *position,
            None if self.from_the_start => Position::START,
            None => self.look_up(store, bus, context_of, context).await?,
        };
        self.previous.insert(context, event.position);
        self.position = event.position;
        Ok(PublishContext {
            context,
            previous,
            epoch: self.epoch,
            expected_last_sequence: self.sequence_of(event.position).saturating_sub(1),
            expected_last_id: self.last.replace(event.id),
        })
    }

    /// The last event of `context` published before this relay resumed.
    async fn look_up(
        &self,
        store: &EventStore,
        bus: &Bus,
        context_of: ContextOf,
        context: &str,
    ) -> Result<Position, Interrupted> {
        match last_position(bus, &format!("events.{context}.>")).await? {
            Some(position) => Ok(position),
            None if !self.tail.limited => Ok(Position::START),
            None => Ok(last_of_context(store, self.position, context_of, context).await?),
        }
    }

    /// Checks that the stream still holds what was published. `idle`: no message is in flight.
    pub(crate) async fn check(&self, bus: &Bus, idle: bool) -> Result<(), Interrupted> {
        let info = bus.stream_info().await?;
        let info = info.ok_or(Interrupted::Disturbed("it was deleted"))?;
        if self.position <= Position::START {
            return Ok(());
        }
        if self.tail.has_lost_start(&info) {
            return Err(Interrupted::Disturbed("it has lost its oldest events"));
        }
        if idle && info.state.last_sequence != self.sequence_of(self.position) {
            return Err(Interrupted::Disturbed("it ends elsewhere"));
        }
        Ok(())
    }
}

/// Position of the last event of `context` up to `until`, read from the log. The categories are found
/// by descents of an index, the event by going back from the end.
async fn last_of_context(
    store: &EventStore,
    until: Position,
    context_of: ContextOf,
    context: &str,
) -> Result<Position, Unavailable> {
    // '.' follows '-' in the collation "C": the descent lands behind the category.
    let categories: Vec<String> = sqlx::query_scalar(
        "with recursive category (name) as (
           (select split_part(stream_id, '-', 1) from log.event order by stream_id limit 1)
           union all
           select (select split_part(e.stream_id, '-', 1) from log.event e
                   where e.stream_id >= c.name || '.' order by e.stream_id limit 1)
           from category c where c.name is not null
         )
         select name from category where name is not null",
    )
    .fetch_all(store.pool())
    .await?;
    let wanted: Vec<&String> =
        categories.iter().filter(|category| context_of(category) == context).collect();
    if wanted.is_empty() {
        return Ok(Position::START);
    }
    let last: Option<i64> = sqlx::query_scalar(
        "select position from log.event
         where position <= $1 and split_part(stream_id, '-', 1) = any($2)
         order by position desc limit 1",
    )
    .bind(until.0)
    .bind(wanted)
    .fetch_optional(store.pool())
    .await?;
    Ok(last.map_or(Position::START, Position))
}
