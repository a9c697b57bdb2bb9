//! Indexes that only queries need: a rebuild fills its tables without them, because making them
//! once costs less than keeping them up row by row, and makes them before anybody asks. What is
//! still to be made stands in the schema itself, so that an interrupted rebuild knows it too.

use sqlx::{Connection, Executor, PgConnection};

use super::beside;
use crate::projection::Projection;

/// Postgres sorts in this much memory while it makes an index.
const SORT_MEMORY: &str = "set local maintenance_work_mem = '128MB'";

/// Takes away the indexes of an empty model that writing to it does not rest on: those that are not
/// unique, because writes find rows by their keys, and the keys in [`Projection::FILLED_WITHOUT`].
pub(super) async fn put_off<P: Projection>(
    connection: &mut PgConnection,
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
    .bind(beside::name::<P>())
    .bind(P::FILLED_WITHOUT)
    .fetch_all(&mut *connection)
    .await?;
    connection.execute("create table put_off (statement text not null)").await?;
    for (_, without, make) in &indexes {
        connection.execute(without.as_str()).await?;
        sqlx::query("insert into put_off values ($1)").bind(make).execute(&mut *connection).await?;
    }
    let missing =
        P::FILLED_WITHOUT.iter().find(|key| !indexes.iter().any(|(name, ..)| name == *key));
    match missing {
        None => Ok(()),
        Some(key) => Err(sqlx::Error::InvalidArgument(format!("{} has no {key}", P::NAME))),
    }
}

/// Makes what was put off, if anything still is: all of it or nothing.
pub(super) async fn make<P: Projection>(desk: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = desk.begin().await?;
    // The connection's own setting comes back at the commit.
    let beside = format!("set local search_path = {}", beside::name::<P>());
    transaction.execute(beside.as_str()).await?;
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
