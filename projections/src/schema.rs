//! Creating the schemas of projections, and connections that point at them.

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool};

use crate::projection::Projection;

/// Options of a connection whose unqualified names mean the tables of `schema`. Its commits do not
/// wait for the disk: effects and checkpoint are lost together, if at all, and made again from
/// the log.
pub(crate) fn pointing_at(pool: &PgPool, schema: &str) -> PgConnectOptions {
    PgConnectOptions::clone(&pool.connect_options())
        .options([("search_path", schema), ("synchronous_commit", "off")])
}

/// Does for every projection what its own role may not. `connection` is of the database's owner.
pub async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    fn statements<P: Projection>() -> (&'static str, Option<&'static str>) {
        (P::NAME, P::PREPARE)
    }
    for (name, statements) in crate::for_each_projection!(statements()) {
        let Some(statements) = statements else {
            continue;
        };
        let mut transaction = connection.begin().await?;
        lock(&mut transaction, name).await?;
        transaction.execute(statements).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// One at a time, whoever else is migrating; released at commit.
async fn lock(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_xact_lock(hashtext($1))")
        .bind(schema)
        .execute(connection)
        .await?;
    Ok(())
}

/// Creates the schema of every projection that has none yet, and makes those anew that are of
/// another version than this build's: they begin at the start of the log, so no projector of an
/// older build may be running. `options` connect as the role that
/// is to own them: the one the projectors run as.
pub async fn create_schemas(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    async fn create<P: Projection>(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
        let options = options.clone().options([("search_path", P::NAME)]);
        create_schema::<P>(&mut options.connect().await?, P::NAME).await
    }
    /// Futures of one type, so that the list of projections can be an array.
    fn boxed<P: Projection>(options: &PgConnectOptions) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        create::<P>(options).boxed()
    }
    for created in crate::for_each_projection!(boxed(options)) {
        created.await?;
    }
    Ok(())
}

async fn create_schema<P: Projection>(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction, schema).await?;
    let found: Option<i32> = sqlx::query_scalar(
        "select coalesce(substring(obj_description(oid, 'pg_namespace')
                                   from '^version ([0-9]{1,9})$')::integer, 1)
         from pg_namespace where nspname = $1",
    )
    .bind(schema)
    .fetch_optional(&mut *transaction)
    .await?;
    if found == Some(P::VERSION) {
        return transaction.commit().await;
    }
    if let Some(found) = found {
        tracing::info!(projection = P::NAME, found, version = P::VERSION, "made anew from the log");
        transaction.execute(format!("drop schema {schema} cascade").as_str()).await?;
        // In this transaction: never a checkpoint without the rows it speaks of.
        for table in ["checkpoint", "parked"] {
            let forget = format!("delete from log.{table} where consumer = $1");
            sqlx::query(&forget).bind(P::NAME).execute(&mut *transaction).await?;
        }
    }
    transaction.execute(format!("create schema {schema}").as_str()).await?;
    transaction.execute(P::DDL).await?;
    let version = format!("comment on schema {schema} is 'version {}'", P::VERSION);
    transaction.execute(version.as_str()).await?;
    transaction.commit().await
}
