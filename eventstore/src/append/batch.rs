//! One batch, one transaction: lock the head, check every request against the log and against the
//! requests accepted before it, write what was accepted, move the head, commit.

use chrono::{DateTime, Utc};
use eventsourcing::Position;
use sqlx::{Executor, PgConnection, Row};

use crate::append::Outcome;
use crate::append::append_cache::AppendCache;
use crate::append::conflict_check::{ConflictCheck, LockedHead};
use crate::append::prepared::{COPY_EVENTS, Prepared};
use crate::append::receipt::NewReceipt;
use crate::copy::CopyRows;

/// Writes what of `requests` can be accepted, and commits. Returns an outcome for each, and the
/// head afterwards.
pub(crate) async fn write(
    connection: &mut PgConnection,
    cache: &mut AppendCache,
    requests: &[Prepared],
) -> Result<(Vec<Outcome>, Position), sqlx::Error> {
    let head = lock_head(connection).await?;
    let state = cache.load_state(connection, requests, head.position).await?;
    let mut check = ConflictCheck {
        head,
        rows: CopyRows::with_capacity(room(requests)),
        receipts: Vec::new(),
        state,
    };
    let mut outcomes = Vec::with_capacity(requests.len());
    for request in requests {
        outcomes.push(check.check(request));
    }
    let ConflictCheck { head, rows, receipts, state } = check;
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

/// Bytes the rows of `requests` take, generously.
fn room(requests: &[Prepared]) -> usize {
    const AROUND_DATA: usize = 512;
    requests.iter().map(|request| request.bytes + request.events * AROUND_DATA).sum()
}

/// From here to the commit nobody else appends. What is read after this statement, not with it,
/// is what the batch is judged against.
async fn lock_head(connection: &mut PgConnection) -> Result<LockedHead, sqlx::Error> {
    let row = connection
        .fetch_one(
            "begin;
         select position, greatest(clock_timestamp(), recorded_at) as recorded_at, hash
         from log.head for update",
        )
        .await?;
    Ok(LockedHead {
        position: Position(row.try_get("position")?),
        recorded_at: row.try_get("recorded_at")?,
        hash: row.try_get("hash")?,
    })
}

async fn move_head_and_commit(
    connection: &mut PgConnection,
    head: &LockedHead,
) -> Result<(), sqlx::Error> {
    let hash = head
        .hash
        .iter()
        .fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"));
    // Numbers and hexadecimal digits only. One round trip instead of two.
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
