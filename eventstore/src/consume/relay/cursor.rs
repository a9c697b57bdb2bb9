//! The relay's cursor: the next sequence, and the last event of each context. Read from the stream,
//! and from the log where the stream no longer holds the event.

use std::collections::HashMap;

use async_nats::jetstream::stream::Info;
use eventsourcing::Position;
use uuid::Uuid;

use super::context_of::ContextOf;
use super::interrupted::Interrupted;
use super::tail::{Tail, has_lost_start, last_event};
use super::window::Published;
use crate::bus::message::PublishContext;
use crate::bus::{Bus, BusError, Claim, Owner, is_limited, is_usable};
use crate::{EventStore, RawEvent, Unavailable};

/// The last position of each context.
pub(super) type Previous = HashMap<&'static str, Position>;

/// The end of what has been published.
pub(crate) struct Cursor {
    owner: Owner,
    /// The last sequence assigned, or expected to be once what is in flight has arrived. It is no
    /// position: foreign messages take sequences, too.
    sequence: u64,
    position: Position,
    /// The last event published by this relay; none before the first.
    last: Option<Uuid>,
    /// Last position of each context, as far as it is known.
    pub(super) previous: Previous,
    /// Whether publishing began with the first event: other contexts have no event yet.
    from_the_start: bool,
    /// Whether a limit of the stream may remove its oldest messages.
    limited: bool,
    /// The first sequence that the stream held when publishing resumed.
    first: u64,
    /// Foreign messages found when publishing resumed.
    pub(super) foreign: u64,
    /// What the server has configured otherwise than requested.
    pub(super) differing: Vec<String>,
}

impl Cursor {
    /// Reads where to resume. A stream that this deployment filled in an earlier epoch, or that has
    /// lost its start, is purged, to be filled again; messages never cause that. `before` is the
    /// position up to which `previous` is known, `counted` the sequence up to which foreign messages
    /// were counted, `known` the last event that the stream has acknowledged to this process.
    pub(super) async fn resume(
        store: &EventStore,
        bus: &Bus,
        mut previous: Previous,
        before: Position,
        counted: u64,
        known: Option<Published>,
    ) -> Result<Self, Interrupted> {
        let owner = store.owner().await?;
        if let Some(info) = bus.stream_info().await? {
            claim(store, bus, owner, &info).await?;
        }
        let (mut info, differing) = bus.ensure_stream(owner).await?;
        if has_lost_start(store, bus, &info).await? {
            tracing::error!("stream EVENTS has lost its oldest events; it is purged and refilled");
            bus.purge().await?;
            info = bus.stream_info().await?.ok_or(Interrupted::Disturbed("it was deleted"))?;
        }
        let tail = Tail::read(store, bus, &info, counted, known).await?;
        if tail.position > before {
            previous.clear();
        }
        previous.retain(|_, position| *position <= tail.position);
        let state = &info.state;
        Ok(Self {
            owner,
            sequence: tail.sequence,
            position: tail.position,
            last: None,
            previous,
            from_the_start: tail.position <= Position::START,
            limited: is_limited(&info.config),
            first: if state.messages == 0 { state.last_sequence + 1 } else { state.first_sequence },
            foreign: tail.foreign,
            differing,
        })
    }

    /// The position up to which everything is published.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The epoch of the log when publishing resumed.
    pub(super) fn epoch(&self) -> i64 {
        self.owner.epoch
    }

    /// The last sequence assigned or expected.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The context in which to publish `event`, which follows the last one, and its sequence.
    pub(super) async fn place(
        &mut self,
        store: &EventStore,
        bus: &Bus,
        context_of: ContextOf,
        event: &RawEvent,
    ) -> Result<(PublishContext, u64), Interrupted> {
        let context = context_of(event.stream.category());
        let previous = match self.previous.get(context) {
            Some(position) => *position,
            None if self.from_the_start => Position::START,
            None => self.look_up(store, bus, context_of, context).await?,
        };
        self.previous.insert(context, event.position);
        self.position = event.position;
        let expected_last_sequence = self.sequence;
        self.sequence += 1;
        let publish = PublishContext {
            context,
            previous,
            owner: self.owner,
            expected_last_sequence,
            expected_last_id: self.last.replace(event.id),
        };
        Ok((publish, self.sequence))
    }

    /// The last event of `context` published before this relay resumed.
    async fn look_up(
        &self,
        store: &EventStore,
        bus: &Bus,
        context_of: ContextOf,
        context: &str,
    ) -> Result<Position, Interrupted> {
        match last_event(store, bus, &format!("events.{context}.>")).await? {
            Some(event) if context_of(event.stream.category()) == context => Ok(event.position),
            _ => Ok(last_of_context(store, self.position, context_of, context).await?),
        }
    }

    /// Checks that the stream still holds what was published and belongs to this deployment. `idle`:
    /// no message is in flight.
    pub(crate) async fn check(&self, bus: &Bus, idle: bool) -> Result<(), Interrupted> {
        let info = bus.stream_info().await?;
        let info = info.ok_or(Interrupted::Disturbed("it was deleted"))?;
        if Owner::of(&info.config) != Some(self.owner) {
            return Err(Interrupted::Disturbed("its owner has changed"));
        }
        if !self.limited
            && self.position > Position::START
            && info.state.first_sequence > self.first
        {
            return Err(Interrupted::Disturbed("it has lost its oldest events"));
        }
        if idle && info.state.last_sequence > self.sequence {
            return Err(Interrupted::Overtaken(Position(self.position.0 + 1)));
        }
        if idle && info.state.last_sequence < self.sequence {
            return Err(Interrupted::Disturbed("it has lost its newest events"));
        }
        Ok(())
    }
}

/// Makes sure that this deployment may use the stream. Purges it if its messages are those of an
/// earlier epoch, whose history may not be the log's, or of a deployment that is taken over.
async fn claim(
    store: &EventStore,
    bus: &Bus,
    owner: Owner,
    info: &Info,
) -> Result<(), Interrupted> {
    match owner.claim(&info.config, bus.take_over())? {
        Claim::Ours => {}
        Claim::Unowned => {
            let tail = Tail::read(store, bus, info, u64::MAX, None).await?;
            if info.state.messages > 0 && tail.position == Position::START {
                return Err(BusError::Unowned(owner).into());
            }
            tracing::info!(%owner, "stream EVENTS had no owner and is marked with this one");
        }
        Claim::Outdated if !is_usable(&info.config) => return Err(BusError::Unusable.into()),
        Claim::Outdated => {
            let before =
                Owner::of(&info.config).map_or_else(String::new, |owner| owner.to_string());
            tracing::error!(
                before, %owner,
                "stream EVENTS holds the events of another history; it is purged and refilled"
            );
            bus.purge().await?;
        }
    }
    Ok(())
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
