//! Snapshots: states of a consumer, by key. A consumer saves them in the transaction that moves its
//! checkpoint, or before it if each state holds its own position.

use sqlx::{PgConnection, PgPool, Row};

/// Loads the states of `keys` as pairs of key and JSON text; keys without a state are left out.
pub async fn load(
    pool: &PgPool,
    consumer: &str,
    keys: &[&str],
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows =
        sqlx::query("select key, state from log.snapshot where consumer = $1 and key = any($2)")
            .bind(consumer)
            .bind(keys)
            .fetch_all(pool)
            .await?;
    rows.iter().map(pair).collect()
}

/// Loads the next `limit` states whose keys begin with `prefix` and follow `after`, in order of key.
pub async fn page(
    pool: &PgPool,
    consumer: &str,
    prefix: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::query(
        "select key, state from log.snapshot
         where consumer = $1 and key > $2 and key >= $3 and starts_with(key, $3)
           and ($3 = '' or key < $3 || chr(1114111))
         order by key limit $4",
    )
    .bind(consumer)
    .bind(after)
    .bind(prefix)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(pair).collect()
}

/// Saves `states`, pairs of key and JSON text.
pub async fn save(
    connection: &mut PgConnection,
    consumer: &str,
    states: &[(&str, String)],
) -> Result<(), sqlx::Error> {
    if states.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into log.snapshot (consumer, key, state)
         select $1, key, state::json from unnest($2::text[], $3::text[]) as n (key, state)
         on conflict (consumer, key) do update set state = excluded.state",
    )
    .bind(consumer)
    .bind(states.iter().map(|(key, _)| *key).collect::<Vec<_>>())
    .bind(states.iter().map(|(_, state)| state.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

fn pair(row: &sqlx::postgres::PgRow) -> Result<(String, String), sqlx::Error> {
    // Postgres sends json as text; unchecked, because sqlx would parse it.
    Ok((row.try_get(0)?, row.try_get_unchecked::<String, _>(1)?))
}
