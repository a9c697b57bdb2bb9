//! What holds at the end of every test: every projection can apply the whole log, no stream is
//! parked, positions and versions have no gap, and the hash chain is intact.

use anyhow::{Result, ensure};
use eventsourcing::Position;
use eventstore::{EventHash, Filter, LogReader, RawEvent};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::process::Process;
use crate::wait::eventually;

/// Checks the database. Starts a projector if a projection is behind the log: the test's own
/// processes have ended by now.
pub(crate) async fn check(
    database: PgConnectOptions,
    environment: &[(String, String)],
) -> Result<()> {
    let pool = PgPool::connect_with(database).await?;
    if !projections_reached(&pool, None).await? {
        let projector = Process::start(&["serve", "projector"], environment)?;
        eventually("every projection has reached the head of the log", async || {
            projections_reached(&pool, None).await
        })
        .await?;
        projector.kill().await?;
    }
    let parked: Vec<String> = sqlx::query_scalar(
        "select concat_ws(' ', consumer, stream_id, error) from log.parked where parked",
    )
    .fetch_all(&pool)
    .await?;
    ensure!(parked.is_empty(), "streams are parked: {parked:#?}");
    log_has_no_gap(&pool).await?;
    hash_chain_is_intact(pool).await
}

/// Whether the checkpoint of every projection is at `position` at least; at the head if none is
/// given.
pub(crate) async fn projections_reached(pool: &PgPool, position: Option<i64>) -> Result<bool> {
    let behind: i64 = sqlx::query_scalar(
        "select count(*) from unnest($1::text[]) n (name)
         left join log.checkpoint c on c.consumer = n.name
         where coalesce(c.position, 0) < coalesce($2, (select position from log.head))",
    )
    .bind(projections::names())
    .bind(position)
    .fetch_one(pool)
    .await?;
    Ok(behind == 0)
}

async fn log_has_no_gap(pool: &PgPool) -> Result<()> {
    let gapless: bool = sqlx::query_scalar(
        "select count(*) = coalesce(max(position) - min(position) + 1, 0)
            and coalesce(max(position), 0) = (select position from log.head)
         from log.event",
    )
    .fetch_one(pool)
    .await?;
    ensure!(gapless, "positions have gaps");
    let broken: i64 = sqlx::query_scalar(
        "select count(*) from (
           select stream_id from log.event group by stream_id
           having count(*) <> max(version) or min(version) <> 1) broken",
    )
    .fetch_one(pool)
    .await?;
    ensure!(broken == 0, "{broken} streams have gaps in their versions");
    Ok(())
}

async fn hash_chain_is_intact(pool: PgPool) -> Result<()> {
    let (head, stored): (i64, EventHash) =
        sqlx::query_as("select position, hash from log.head").fetch_one(&pool).await?;
    let log = LogReader::new(pool);
    let (mut position, mut hash) = (Position::START, EventHash::new());
    while position.0 < head {
        let page = log.read(position, Position(head), &Filter::default(), 5_000).await?;
        let events = page.events.iter();
        hash = events.fold(hash, |hash, event: &RawEvent| eventstore::event_hash(&hash, event));
        position = page.through;
    }
    ensure!(stored == hash, "the hash of the head is not that of the events");
    Ok(())
}
