//! Keeps the tables of one projection up to date, as a transactional consumer of the log: the
//! changes of a batch are computed outside of a transaction, and written in the one that moves the
//! checkpoint.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use eventsourcing::{Position, StreamId};
use eventstore::consume::{ConsumeError, Consumer, Failed, Session, single_event};
use eventstore::parked::Parked;
use eventstore::{EventStore, Filter, RawEvent, otel, otel_span};
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;
use tokio::sync::watch;
use tracing::Span;

use crate::projection::{Projection, project};
use crate::schema;

/// Keeps the live tables of `P`, or those that a rebuild fills.
pub(crate) struct Projector<P: Projection> {
    /// Name of the checkpoint and of the schema.
    name: String,
    /// The schema at the start. A rebuild may have given its name to another one since.
    schema: Option<Oid>,
    /// Changes of the events handled since the last commit.
    pub(crate) changes: Option<P::Changes>,
    /// Spans in the traces of these events.
    spans: Vec<Span>,
    /// The checkpoint, for those in this process that wait for it.
    progress: watch::Sender<Position>,
}

impl<P: Projection> Projector<P> {
    /// A projector of the schema `name`, which announces its checkpoint to `progress`.
    pub(crate) fn new(name: String, progress: watch::Sender<Position>) -> Self {
        Self { name, schema: None, changes: None, spans: Vec::new(), progress }
    }
}

/// What is parked if `event` cannot be applied.
pub(crate) fn key<P: Projection>(event: &RawEvent) -> Cow<'_, StreamId> {
    if P::ORDERED { Cow::Borrowed(&event.stream) } else { Cow::Owned(single_event(event)) }
}

impl<P: Projection> Consumer for Projector<P> {
    const NAME: &'static str = P::NAME;
    const BATCH_EVENTS: usize = 5_000;
    const PACE: std::time::Duration = P::PACE;

    fn name(&self) -> &str {
        &self.name
    }

    fn filter(&self) -> Filter {
        Filter::categories(P::CATEGORIES)
    }

    fn knows(&self, event: &RawEvent) -> bool {
        event.is_known::<P::Event>()
    }

    fn key<'e>(&self, event: &'e RawEvent) -> Cow<'e, StreamId> {
        key::<P>(event)
    }

    async fn open(
        &mut self,
        store: &EventStore,
        position: Position,
    ) -> Result<Session, ConsumeError> {
        let mut connection = schema::for_projector(store, &self.name).await?;
        let found = schema::found(&mut connection, &self.name).await?;
        let found = found.ok_or(sqlx::Error::RowNotFound)?;
        if found.version != P::VERSION {
            return Err(ConsumeError::failed(format!(
                "the tables of {0} have version {1}, and this build has version {2}: run \
                 `tributary rebuild {0}`",
                P::NAME,
                found.version,
                P::VERSION,
            )));
        }
        (self.schema, self.changes) = (Some(found.oid), None);
        self.committed(position);
        Ok(Session::Own(connection))
    }

    async fn handle(
        &mut self,
        events: &[Arc<RawEvent>],
        _parked: &Parked,
    ) -> Result<Vec<Failed>, ConsumeError> {
        self.spans.extend(otel::span_per_trace(events, || {
            otel_span!("project", otel.name = format_args!("project {}", P::NAME))
        }));
        let changes = self.changes.get_or_insert_default();
        let mut failed = Vec::new();
        let mut failed_streams = HashSet::new();
        for raw in events {
            if !failed_streams.is_empty() && failed_streams.contains(&raw.stream) {
                continue;
            }
            if let Err(error) = project::<P>(changes, raw) {
                if P::ORDERED {
                    failed_streams.insert(&raw.stream);
                }
                let key = key::<P>(raw).into_owned();
                failed.push(Failed { key, ..Failed::undecodable(raw, &error) });
            }
        }
        Ok(failed)
    }

    async fn commit(&mut self, connection: &mut PgConnection) -> Result<(), ConsumeError> {
        let changes = self.changes.take();
        // The checkpoint is locked: until the commit the name stays with this schema.
        if schema::oid(connection, &self.name).await? != self.schema {
            tracing::info!(projection = P::NAME, "rebuilt schema has replaced this one");
            return Err(ConsumeError::Fenced);
        }
        match changes {
            Some(changes) => Ok(P::write(changes, connection).await?),
            None => Ok(()),
        }
    }

    fn committed(&mut self, position: Position) {
        self.spans.clear();
        self.progress.send_replace(position);
    }
}
