//! Comparing two models, row by row and both ways, as they were at one position of the log.

use eventstore::EventStore;
use serde::Serialize;
use sqlx::{ConnectOptions, Executor, PgConnection, Row};

use super::{RebuildError, beside};
use crate::projection::Projection;
use crate::schema::pointing_at;

/// Rows shown of each difference.
const EXAMPLES: i64 = 3;
/// Longest text shown of a row, in characters.
const EXAMPLE_LENGTH: i32 = 500;

/// A table of which the two models say different things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub table: String,
    /// Rows of the live model that the rebuilt one does not have.
    pub only_live: i64,
    /// Rows of the rebuilt model that the live one does not have.
    pub only_rebuilt: i64,
    /// Some of them, as text; the first few of each side.
    pub live_examples: Vec<String>,
    pub rebuilt_examples: Vec<String>,
}

/// Both models at one moment. Taken while neither moves; compared while both go on.
pub(super) struct Snapshot(PgConnection);

impl Snapshot {
    pub(super) async fn take<P: Projection>(store: &EventStore) -> Result<Self, RebuildError> {
        let mut connection = pointing_at(store.pool(), "pg_catalog").connect().await?;
        // Whole tables are read here, which is what the settings for queries are against.
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
        .bind(beside::name::<P>())
        .fetch_one(&mut connection)
        .await?;
        if apart == Some(false) {
            Ok(Self(connection))
        } else {
            Err(RebuildError::Restless(P::NAME))
        }
    }

    /// What they say differently. Rows are compared as their text: `json` has no equality, and
    /// numbers are written so that what reads alike is alike.
    pub(super) async fn differences<P: Projection>(
        &mut self,
    ) -> Result<Vec<Difference>, sqlx::Error> {
        let (live, rebuilt) = (P::NAME.to_owned(), beside::name::<P>());
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
            let (only_live, live_examples) = self.only_in(&live, &rebuilt, &table).await?;
            let (only_rebuilt, rebuilt_examples) = self.only_in(&rebuilt, &live, &table).await?;
            if only_live + only_rebuilt > 0 {
                differences.push(Difference {
                    table,
                    only_live,
                    only_rebuilt,
                    live_examples,
                    rebuilt_examples,
                });
            }
        }
        Ok(differences)
    }

    async fn only_in(
        &mut self,
        here: &str,
        there: &str,
        table: &str,
    ) -> Result<(i64, Vec<String>), sqlx::Error> {
        let row = sqlx::query(&format!(
            "with missing as materialized (
               select h::text as line from {here}.\"{table}\" h
               except all select t::text from {there}.\"{table}\" t
             )
             select (select count(*) from missing) as count,
                    array(select left(line, $2) from missing limit $1) as examples"
        ))
        .bind(EXAMPLES)
        .bind(EXAMPLE_LENGTH)
        .fetch_one(&mut self.0)
        .await?;
        Ok((row.try_get("count")?, row.try_get("examples")?))
    }
}
