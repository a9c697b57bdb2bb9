//! Replaces the live schema by the shadow schema, in one transaction.
//!
//! Order of locks: the live checkpoint's row first, as in every projector; then the catalogue.
//! Renaming a schema locks no table: a query that has begun ends on the old tables, the next one
//! finds the new ones, and prepared statements are planned again, because names are resolved anew.

use std::time::Duration;

use eventsourcing::Position;
use sqlx::{Connection, Executor, PgConnection, Postgres, Transaction};
use tokio::time::sleep;

use super::{RebuildError, shadow_schema};
use crate::projection::Projection;
use crate::schema;

/// How long one attempt waits for a lock. All others that want the same lock wait behind it.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '900ms'";
/// Attempts, and the pause between them that lets others through.
const ATTEMPTS: (usize, Duration) = (30, Duration::from_millis(200));
/// Attempts to drop a replaced schema before it is left to the next rebuild.
const DROP_ATTEMPTS: usize = 3;

/// Stops the live projector until the transaction ends, and returns its checkpoint.
pub(super) async fn hold<P: Projection>(
    control: &mut PgConnection,
) -> Result<(Transaction<'_, Postgres>, Position), RebuildError> {
    let mut attempts_left = ATTEMPTS.0;
    let mut held = control.begin().await?;
    loop {
        let mut attempt = held.begin().await?;
        match lock_live::<P>(&mut attempt).await {
            Ok(position) => {
                attempt.commit().await?;
                return Ok((held, position));
            }
            Err(error) if is_timeout(&error) && attempts_left > 0 => {
                attempts_left -= 1;
                // Only the savepoint is rolled back, and with it every lock.
                attempt.rollback().await?;
                sleep(ATTEMPTS.1).await;
            }
            Err(error) if is_timeout(&error) => return Err(RebuildError::Restless(P::NAME)),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn lock_live<P: Projection>(connection: &mut PgConnection) -> Result<Position, sqlx::Error> {
    connection.execute(LOCK_TIMEOUT).await?;
    // A migration may be reading the schema.
    schema::lock(connection, P::NAME).await?;
    // A projection that never ran has no checkpoint; one that starts now waits for this row.
    sqlx::query(
        "insert into log.checkpoint (consumer, position) values ($1, 0) on conflict do nothing",
    )
    .bind(P::NAME)
    .execute(&mut *connection)
    .await?;
    sqlx::query_scalar("select position from log.checkpoint where consumer = $1 for update")
        .bind(P::NAME)
        .fetch_one(connection)
        .await
        .map(Position)
}

/// Makes the shadow schema the live one, with its checkpoint and parked streams. The live checkpoint's
/// row is deleted: a projector that waits for it finds no row, and starts again.
pub(super) async fn replace<P: Projection>(
    mut held: Transaction<'_, Postgres>,
) -> Result<(), sqlx::Error> {
    let (live, rebuilt) = (P::NAME, shadow_schema::name::<P>());
    for table in ["checkpoint", "parked"] {
        let forget = format!("delete from log.{table} where consumer = $1");
        sqlx::query(&forget).bind(live).execute(&mut *held).await?;
        let rename = format!("update log.{table} set consumer = $1 where consumer = $2");
        sqlx::query(&rename).bind(live).bind(&rebuilt).execute(&mut *held).await?;
    }
    let old = old::<P>();
    held.execute(format!("alter schema {live} rename to {old}").as_str()).await?;
    held.execute(format!("alter schema {rebuilt} rename to {live}").as_str()).await?;
    schema::set_comment(&mut held, live, &schema::comment::<P>()).await?;
    held.commit().await
}

fn old<P: Projection>() -> String {
    format!("{}__old", P::NAME)
}

/// Drops the schema that a rebuild replaced. False if a long query still reads it; the next rebuild
/// then drops it.
pub(super) async fn drop_old<P: Projection>(
    control: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let statement = format!("drop schema if exists {} cascade", old::<P>());
    for _ in 0..DROP_ATTEMPTS {
        let mut transaction = control.begin().await?;
        transaction.execute(LOCK_TIMEOUT).await?;
        match transaction.execute(statement.as_str()).await {
            Ok(_) => {
                transaction.commit().await?;
                return Ok(true);
            }
            Err(error) if is_timeout(&error) => transaction.rollback().await?,
            Err(error) => return Err(error),
        }
        sleep(ATTEMPTS.1).await;
    }
    tracing::warn!(schema = old::<P>(), "replaced schema not dropped: a query still reads it");
    Ok(false)
}

fn is_timeout(error: &sqlx::Error) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    const DEADLOCK: &str = "40P01";
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == LOCK_NOT_AVAILABLE || code == DEADLOCK)
}
