//! Indexes that only queries need: a rebuild fills its tables without them, because creating them
//! once costs less than maintaining them row by row, and creates them before the schema serves. The
//! shadow schema itself holds the list, so that a rebuild that resumes knows it, too.

use sqlx::{Connection, Executor, PgConnection};

use crate::projection::Projection;

/// Memory in which Postgres sorts while it creates an index.
const SORT_MEMORY: &str = "set local maintenance_work_mem = '128MB'";

/// Drops the indexes of empty tables that writes do not need, and notes how to create them: those
/// that are not unique, because writes find rows by their keys, and the keys in
/// [`Projection::FILLED_WITHOUT`].
pub(super) async fn defer<P: Projection>(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<(), sqlx::Error> {
    let indexes: Vec<(String, String, String)> = sqlx::query_as(
        "with own as (select to_regnamespace($1)::oid as id)
         select c.relname::text, format('drop index %s', c.oid::regclass), pg_get_indexdef(c.oid)
         from own join pg_class c on c.relnamespace = own.id
         join pg_index i on i.indexrelid = c.oid
         where not i.indisunique and not c.relispartition
         union all
         select k.conname::text,
                format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname),
                format('alter table %s add constraint %I %s', k.conrelid::regclass, k.conname,
                       pg_get_constraintdef(k.oid))
         from own join pg_constraint k on k.connamespace = own.id
         where k.conname = any($2)
         order by 1",
    )
    .bind(schema)
    .bind(P::FILLED_WITHOUT)
    .fetch_all(&mut *connection)
    .await?;
    connection.execute("create table put_off (statement text not null)").await?;
    for (_, drop, create) in &indexes {
        connection.execute(drop.as_str()).await?;
        sqlx::query("insert into put_off values ($1)")
            .bind(create)
            .execute(&mut *connection)
            .await?;
    }
    let missing =
        P::FILLED_WITHOUT.iter().find(|key| !indexes.iter().any(|(name, ..)| name == *key));
    match missing {
        None => Ok(()),
        Some(key) => {
            Err(sqlx::Error::InvalidArgument(format!("{} has no constraint {key}", P::NAME)))
        }
    }
}

/// Creates the deferred indexes, if there are any: all of them or none.
pub(super) async fn create_deferred(
    control: &mut PgConnection,
    schema: &str,
) -> Result<(), sqlx::Error> {
    let mut transaction = control.begin().await?;
    // Until the commit.
    let search_path = format!("set local search_path = {schema}");
    transaction.execute(search_path.as_str()).await?;
    let there: bool = sqlx::query_scalar("select to_regclass('put_off') is not null")
        .fetch_one(&mut *transaction)
        .await?;
    if there {
        transaction.execute(SORT_MEMORY).await?;
        let statements: Vec<String> = sqlx::query_scalar("select statement from put_off")
            .fetch_all(&mut *transaction)
            .await?;
        for statement in statements {
            transaction.execute(statement.as_str()).await?;
        }
        transaction.execute("drop table put_off").await?;
    }
    transaction.commit().await
}
