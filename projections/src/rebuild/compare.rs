//! Compares the live schema with the shadow schema, row by row, at one position of the log.

use eventstore::EventStore;
use serde::Serialize;
use sqlx::{Executor, PgConnection, Row};

use super::{RebuildError, shadow_schema};
use crate::projection::Projection;
use crate::schema::unlimited;

/// Rows shown of each side of a difference.
const EXAMPLES: i64 = 3;
/// Longest text shown of a row, in characters.
const EXAMPLE_LENGTH: i32 = 500;

/// A table whose rows differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Name of the table.
    pub table: String,
    /// Number of rows that only the live table has.
    pub only_live: i64,
    /// Number of rows that only the rebuilt table has.
    pub only_rebuilt: i64,
    /// The first three of the rows that only the live table has, as text of at most 500 characters.
    pub live_examples: Vec<String>,
    /// The same of the rows that only the rebuilt table has.
    pub rebuilt_examples: Vec<String>,
}

/// Both schemas at one moment. To be taken while neither changes; compared while both change.
pub(super) struct Snapshot(PgConnection);

impl Snapshot {
    pub(super) async fn take<P: Projection>(store: &EventStore) -> Result<Self, RebuildError> {
        let mut connection = unlimited(store, "pg_catalog").await?;
        // Whole tables are read here, which the settings for queries forbid.
        connection
            .execute(
                "set enable_seqscan = on; set work_mem = '64MB';
                 begin isolation level repeatable read read only",
            )
            .await?;
        let apart: Option<bool> = sqlx::query_scalar(
            "select max(position) <> min(position) from log.checkpoint
             where consumer in ($1, $2)",
        )
        .bind(P::NAME)
        .bind(shadow_schema::name::<P>())
        .fetch_one(&mut connection)
        .await?;
        if apart == Some(false) {
            Ok(Self(connection))
        } else {
            Err(RebuildError::Restless(P::NAME))
        }
    }

    /// Returns every table whose rows differ. Rows are compared as text, because `json` has no
    /// equality.
    pub(super) async fn differences<P: Projection>(
        &mut self,
    ) -> Result<Vec<Difference>, sqlx::Error> {
        let (live, rebuilt) = (P::NAME.to_owned(), shadow_schema::name::<P>());
        let tables: Vec<String> = sqlx::query_scalar(
            "select distinct c.relname::text from pg_class c
             join pg_namespace n on n.oid = c.relnamespace
             where n.nspname in ($1, $2) and c.relkind in ('r', 'p') and not c.relispartition
             order by 1",
        )
        .bind(&live)
        .bind(&rebuilt)
        .fetch_all(&mut self.0)
        .await?;
        let mut differences = Vec::new();
        for table in tables {
            differences.extend(self.difference(&live, &rebuilt, table).await?);
        }
        Ok(differences)
    }

    /// Compares one table in one pass over both schemas; none if its rows are the same.
    async fn difference(
        &mut self,
        live: &str,
        rebuilt: &str,
        table: String,
    ) -> Result<Option<Difference>, sqlx::Error> {
        let row = sqlx::query(&format!(
            "with odd as materialized (
               select line, sum(side) as rows from (
                 select l::text as line, 1 as side from {live}.\"{table}\" l
                 union all select r::text, -1 from {rebuilt}.\"{table}\" r) both_sides
               group by line having sum(side) <> 0
             )
             select (select coalesce(sum(rows), 0)::bigint from odd where rows > 0) as only_live,
                    (select coalesce(-sum(rows), 0)::bigint from odd where rows < 0)
                      as only_rebuilt,
                    array(select left(line, $2) from odd where rows > 0 order by line limit $1)
                      as live_examples,
                    array(select left(line, $2) from odd where rows < 0 order by line limit $1)
                      as rebuilt_examples"
        ))
        .bind(EXAMPLES)
        .bind(EXAMPLE_LENGTH)
        .fetch_one(&mut self.0)
        .await?;
        let (only_live, only_rebuilt) = (row.try_get("only_live")?, row.try_get("only_rebuilt")?);
        Ok((only_live + only_rebuilt > 0).then_some(Difference {
            table,
            only_live,
            only_rebuilt,
            live_examples: row.try_get("live_examples")?,
            rebuilt_examples: row.try_get("rebuilt_examples")?,
        }))
    }
}
