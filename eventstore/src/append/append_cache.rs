//! The state of the log that a batch is checked against. Most of it needs no query: the appender
//! caches the versions it wrote, and the log's unique indexes detect the rest.

use std::collections::HashMap;

use eventsourcing::Position;
use quick_cache::unsync::Cache;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::append::conflict_check::LogState;
use crate::append::outcome::{AppendError, Appended, Outcome};
use crate::append::prepared::Prepared;
use crate::append::receipt::{self, Receipt};

/// Streams whose versions are cached.
const CACHED_STREAMS: usize = 65_536;
/// Number of batches that look up everything after a unique index detected a duplicate.
const LOOKUP_BATCHES: u32 = 64;

/// The appender's cache from batch to batch.
#[derive(Debug)]
pub(crate) struct AppendCache {
    /// Versions of streams after this process's last append to each.
    versions: Cache<Box<str>, i64>,
    /// The head after this process's last append. If the head has moved since, another process
    /// appended, and the cached versions are stale.
    head: Position,
    /// Remaining batches that look up what the unique indexes would detect: event ids, and streams
    /// that are expected to be new. A look-up costs an index descent for each, a detected
    /// duplicate costs the whole batch again: look-ups pay only after recent duplicates.
    lookup_batches: u32,
}

impl Default for AppendCache {
    fn default() -> Self {
        let versions = Cache::new(CACHED_STREAMS);
        Self { versions, head: Position::START, lookup_batches: 0 }
    }
}

impl AppendCache {
    /// Makes the next batches look up everything, after a unique index detected a duplicate.
    /// Returns false if they did already, so that trying again cannot help.
    pub(crate) fn require_lookups(&mut self) -> bool {
        let was_skipping = self.lookup_batches == 0;
        self.lookup_batches = LOOKUP_BATCHES;
        self.versions.clear();
        was_skipping
    }

    /// Forgets all versions, after a batch whose outcome is unknown.
    pub(crate) fn clear(&mut self) {
        self.versions.clear();
    }

    /// Stores the versions and the head after a committed batch.
    pub(crate) fn update(&mut self, versions: &HashMap<&str, i64>, head: Position) {
        // 0 may be an assumption: a stream that was expected to be new and got no event may exist.
        for (&stream, &version) in versions.iter().filter(|(_, version)| **version > 0) {
            match self.versions.get_mut(stream) {
                Some(mut cached) => *cached = version,
                None => self.versions.insert(stream.into(), version),
            }
        }
        self.head = head;
        self.lookup_batches = self.lookup_batches.saturating_sub(1);
    }

    /// Loads the state that `requests` are checked against. The head must be locked, at `head`.
    pub(crate) async fn load_state<'a>(
        &mut self,
        connection: &mut PgConnection,
        requests: &'a [Prepared],
        head: Position,
    ) -> Result<LogState<'a>, sqlx::Error> {
        if head != self.head {
            self.versions.clear();
        }
        let skip_lookups = self.lookup_batches == 0;
        let mut state = LogState::default();
        let (mut ids, mut keys) = (Vec::new(), Vec::new());
        // Streams, and whether all requests that name one expect it to be new. If it is not, it has
        // a version 1, and the unique index detects that.
        let mut all_expect_new: HashMap<&str, bool> = HashMap::new();
        for request in requests {
            keys.extend(request.receipt.as_ref().map(|receipt| receipt.key.as_str()));
            for part in &request.streams {
                let new = part.expected.is_new() && !part.events.is_empty();
                *all_expect_new.entry(part.stream.as_str()).or_insert(true) &= new;
                if !skip_lookups {
                    ids.extend(part.events.iter().map(|event| event.id));
                }
            }
        }
        let mut streams = Vec::new();
        for (stream, new) in all_expect_new {
            let cached = self.versions.get(stream).copied();
            if cached.is_none() && !(skip_lookups && new) {
                streams.push(stream);
            }
            state.versions.insert(stream, cached.unwrap_or(0));
        }
        if !streams.is_empty() || !ids.is_empty() {
            let (versions, event_ids) = look_up(connection, &streams, &ids).await?;
            state.versions.extend(streams.into_iter().zip(versions));
            state.event_ids = event_ids;
        }
        state.receipts = load_receipts(connection, &keys).await?;
        Ok(state)
    }

    /// Changes conflicts to duplicates where the log already has every event of the request: its caller
    /// missed the first outcome and sent it again.
    pub(crate) async fn reclassify_duplicates(
        &self,
        connection: &mut PgConnection,
        requests: &[Prepared],
        outcomes: &mut [Outcome],
    ) -> Result<(), sqlx::Error> {
        let refused = |outcome: &Outcome| matches!(outcome, Err(AppendError::Conflict { .. }));
        let conflicts = || requests.iter().zip(&*outcomes).filter(|(_, outcome)| refused(outcome));
        let events = conflicts().flat_map(|(request, _)| request.all_events());
        let ids: Vec<Uuid> = events.map(|event| event.id).collect();
        if ids.is_empty() || self.lookup_batches > 0 {
            return Ok(());
        }
        let (_, found) = look_up(connection, &[], &ids).await?;
        for (request, outcome) in requests.iter().zip(outcomes) {
            let position = request.duplicate_of(&found);
            if let (true, Some(position)) = (refused(outcome), position) {
                *outcome = Ok(Appended::Duplicate { position });
            }
        }
        Ok(())
    }
}

/// Returns the versions of `streams`, and the positions of those `ids` that the log has.
async fn look_up(
    connection: &mut PgConnection,
    streams: &[&str],
    ids: &[Uuid],
) -> Result<(Vec<i64>, HashMap<Uuid, Position>), sqlx::Error> {
    // Correlated subqueries, so that each look-up is one descent of one index, whatever the planner
    // assumes about the size of the table.
    let row = sqlx::query(
        "select
           array(select (select e.version from log.event e where e.stream_id = s.id
                         order by e.version desc limit 1)
                 from unnest($1::text[]) with ordinality s (id, n) order by s.n),
           array(select (select e.position from log.event e where e.event_id = i.id)
                 from unnest($2::uuid[]) with ordinality i (id, n) order by i.n)",
    )
    .bind(streams)
    .bind(ids)
    .fetch_one(&mut *connection)
    .await?;
    let versions: Vec<Option<i64>> = row.try_get(0)?;
    let positions: Vec<Option<i64>> = row.try_get(1)?;
    let versions = versions.into_iter().map(Option::unwrap_or_default).collect();
    let found = ids.iter().zip(positions);
    let found = found.filter_map(|(id, position)| Some((*id, Position(position?)))).collect();
    Ok((versions, found))
}

async fn load_receipts<'a>(
    connection: &mut PgConnection,
    keys: &[&'a str],
) -> Result<HashMap<&'a str, Receipt>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "select k.n, r.fingerprint, r.position, r.recorded_at, r.response::text as response
         from unnest($1::text[]) with ordinality k (key, n)
         cross join lateral (select * from log.receipt r where r.key = k.key offset 0) r",
    )
    .bind(keys)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let n = usize::try_from(row.try_get::<i64, _>("n")? - 1).unwrap_or_default();
            Ok((keys[n], receipt::from_row(row)?))
        })
        .collect()
}
