//! One batch in one transaction: locks the head, checks every request against the log and against
//! the requests accepted before it, writes those accepted, moves the head, commits.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use sqlx::{Executor, PgConnection, Row};

use crate::append::append_cache::AppendCache;
use crate::append::conflict_check::{ConflictCheck, LockedHead};
use crate::append::outcome::Outcome;
use crate::append::prepared::{COPY_EVENTS, Prepared};
use crate::append::receipt::NewReceipt;
use crate::clock::LogClock;
use crate::copy::CopyRows;

/// Writes the requests that can be accepted, and commits. Returns an outcome for each request, and
/// the head after the batch.
pub(crate) async fn write(
    connection: &mut PgConnection,
    cache: &mut AppendCache,
    clock: &LogClock,
    requests: &[Prepared],
) -> Result<(Vec<Outcome>, Position), sqlx::Error> {
    let head = lock_head(connection, clock).await?;
    let state = cache.load_state(connection, requests, head.position).await?;
    let mut conflicts = ConflictCheck {
        head,
        rows: CopyRows::with_capacity(room(requests)),
        receipts: Vec::new(),
        state,
    };
    let mut outcomes = Vec::with_capacity(requests.len());
    for request in requests {
        outcomes.push(conflicts.check(request));
    }
    let ConflictCheck { head, rows, receipts, state } = conflicts;
    cache.reclassify_duplicates(connection, requests, &mut outcomes).await?;
    if rows.is_empty() && receipts.is_empty() {
        connection.execute("rollback").await?;
        return Ok((outcomes, head.position));
    }
    let events = rows.len();
    rows.send(connection, COPY_EVENTS).await?;
    if !receipts.is_empty() {
        insert_receipts(connection, &receipts, head.recorded_at).await?;
    }
    move_head_and_commit(connection, &head).await?;
    cache.update(&state.versions, head.position);
    metrics::counter!("tributary_events_appended_total").increment(events as u64);
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    metrics::histogram!("tributary_append_batch_events").record(events as f64);
    Ok((outcomes, head.position))
}

/// Commits a write that changes nothing, on a new connection. With synchronous replication, the
/// commit returns once a standby has it and all that was written before.
///
/// After a crash of the primary, its own recovery makes transactions visible that no standby has. A
/// repeated request must not be acknowledged because of such a transaction.
pub(crate) async fn confirm(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute("update log.head set position = position").await?;
    Ok(())
}

/// Returns an upper estimate of the bytes that the rows of `requests` take.
fn room(requests: &[Prepared]) -> usize {
    const AROUND_DATA: usize = 512;
    requests.iter().map(|request| request.bytes + request.events * AROUND_DATA).sum()
}

/// Begins the transaction and locks the head, so that no other process appends until the commit.
/// Only statements after this one see all that was committed before.
async fn lock_head(
    connection: &mut PgConnection,
    clock: &LogClock,
) -> Result<LockedHead, sqlx::Error> {
    let row = connection
        .fetch_one(
            "begin;
         select position, clock_timestamp() as now, recorded_at, hash from log.head for update",
        )
        .await?;
    let last: DateTime<Utc> = row.try_get("recorded_at")?;
    Ok(LockedHead {
        position: Position(row.try_get("position")?),
        recorded_at: clock.bounded(row.try_get("now")?).max(last),
        hash: row.try_get("hash")?,
    })
}

/// Tests whether a batch could be committed, and writes nothing: locks the head, takes some space in
/// the log's tables, which a full disk refuses, and rolls back.
pub(crate) async fn probe(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection
        .execute(
            "begin; select 1 from log.head for update;
             insert into log.receipt (key, fingerprint, position, response, recorded_at)
             select 'probe ' || gen_random_uuid(), '', 0, to_json(string_agg(md5(n::text), '')),
                    clock_timestamp()
             from generate_series(1, 8192) n;
             rollback",
        )
        .await?;
    Ok(())
}

async fn move_head_and_commit(
    connection: &mut PgConnection,
    head: &LockedHead,
) -> Result<(), sqlx::Error> {
    let hash = hex::encode(&head.hash);
    // One round trip instead of two; the values are numbers, hexadecimal digits and a time.
    let sql = format!(
        "update log.head set position = {}, hash = '\\x{hash}', recorded_at = '{}';
         commit",
        head.position,
        head.recorded_at.format("%Y-%m-%d %H:%M:%S%.6f+00"),
    );
    connection.execute(sql.as_str()).await?;
    Ok(())
}

async fn insert_receipts(
    connection: &mut PgConnection,
    receipts: &[(&NewReceipt, Position)],
    recorded_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<&str> = receipts.iter().map(|(new, _)| new.key.as_str()).collect();
    let fingerprints: Vec<&[u8]> = receipts.iter().map(|(new, _)| &new.fingerprint[..]).collect();
    let positions: Vec<i64> = receipts.iter().map(|(_, position)| position.0).collect();
    let responses: Vec<&str> = receipts.iter().map(|(new, _)| &*new.response).collect();
    sqlx::query(
        "insert into log.receipt (key, fingerprint, position, response, recorded_at)
         select r.key, r.fingerprint, r.position, r.response::json, $5
         from unnest($1::text[], $2::bytea[], $3::bigint[], $4::text[])
           as r (key, fingerprint, position, response)",
    )
    .bind(keys)
    .bind(fingerprints)
    .bind(positions)
    .bind(responses)
    .bind(recorded_at)
    .execute(connection)
    .await?;
    Ok(())
}
