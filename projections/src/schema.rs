//! Creates the schemas of projections, and opens connections that point at them.

use eventstore::{ConnectOptions, LogReader};
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::postgres::types::Oid;
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::projection::Projection;

/// Opens a connection for a projector, whose unqualified names mean the tables of `schema`. Its
/// commits do not wait for the disk: after a crash of Postgres, effects and checkpoint are lost
/// together, and the events are handled again.
pub(crate) async fn for_projector(
    reader: &LogReader,
    schema: &str,
) -> Result<PgConnection, sqlx::Error> {
    pointing_at(&reader.connect_options().clone().for_consumer(), schema).await
}

/// The same for a rebuild, whose statements and transactions may take any time.
pub(crate) async fn unlimited(
    reader: &LogReader,
    schema: &str,
) -> Result<PgConnection, sqlx::Error> {
    pointing_at(&reader.connect_options().clone().without_time_limits(), schema).await
}

async fn pointing_at(options: &ConnectOptions, schema: &str) -> Result<PgConnection, sqlx::Error> {
    options.connect(&[("search_path", schema), ("synchronous_commit", "off")]).await
}

/// Runs [`Projection::PREPARE`] of every projection. `connection` is of the database's owner.
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

/// Locks the creation of `schema` against other migrations, until the transaction ends.
pub(crate) async fn lock(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_xact_lock(hashtext($1))")
        .bind(schema)
        .execute(connection)
        .await?;
    Ok(())
}

/// Creates the schema of every projection that has none yet. Those of another version than this
/// build's stay as they are: a rebuild replaces them while they serve. `options` connect as the role
/// that is to own the schemas, which is that of the projectors.
pub async fn create_schemas(options: &ConnectOptions) -> Result<(), sqlx::Error> {
    async fn connect_and_create<P: Projection>(
        options: &ConnectOptions,
    ) -> Result<(), sqlx::Error> {
        let mut connection = options.connect(&[("search_path", P::NAME)]).await?;
        create_schema::<P>(&mut connection, P::NAME).await
    }
    /// Futures of one type, so that the list of projections can be an array.
    fn boxed<P: Projection>(options: &ConnectOptions) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        connect_and_create::<P>(options).boxed()
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
    if found(&mut transaction, schema).await?.is_some() {
        return transaction.commit().await;
    }
    create::<P>(&mut transaction, schema, &comment::<P>()).await?;
    transaction.commit().await
}

/// Creates a schema with the empty tables of `P`, and comments on it.
pub(crate) async fn create<P: Projection>(
    connection: &mut PgConnection,
    schema: &str,
    comment: &str,
) -> Result<(), sqlx::Error> {
    connection.execute(format!("create schema {schema}").as_str()).await?;
    connection.execute(P::DDL).await?;
    set_comment(connection, schema, comment).await
}

/// The comment on a live schema, which holds its version.
pub(crate) fn comment<P: Projection>() -> String {
    format!("version {}", P::VERSION)
}

/// Comments on a schema. `comment` must not contain quotes.
pub(crate) async fn set_comment(
    connection: &mut PgConnection,
    schema: &str,
    comment: &str,
) -> Result<(), sqlx::Error> {
    connection.execute(format!("comment on schema {schema} is '{comment}'").as_str()).await?;
    Ok(())
}

/// A schema of a projection, as the catalogue describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) oid: Oid,
    /// Version of the tables, from the comment.
    pub(crate) version: i32,
    pub(crate) comment: String,
}

/// Finds the schema of this name.
pub(crate) async fn found(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Option<Found>, sqlx::Error> {
    let row = sqlx::query(
        "select oid, coalesce(obj_description(oid, 'pg_namespace'), '') as comment,
                coalesce(substring(obj_description(oid, 'pg_namespace')
                                   from '^version ([0-9]{1,9})')::integer, 1) as version
         from pg_namespace where nspname = $1",
    )
    .bind(schema)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let (oid, version) = (row.try_get("oid")?, row.try_get("version")?);
        Ok(Found { oid, version, comment: row.try_get("comment")? })
    })
    .transpose()
}

/// The schema that has this name now.
pub(crate) async fn oid(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Option<Oid>, sqlx::Error> {
    sqlx::query_scalar("select oid from pg_namespace where nspname = $1")
        .bind(schema)
        .fetch_optional(connection)
        .await
}

/// Names of the projections whose schema has another version than this build.
pub async fn outdated(connection: &mut PgConnection) -> Result<Vec<&'static str>, sqlx::Error> {
    fn wanted<P: Projection>() -> (&'static str, i32) {
        (P::NAME, P::VERSION)
    }
    let mut outdated = Vec::new();
    for (name, version) in crate::for_each_projection!(wanted()) {
        let found = found(&mut *connection, name).await?;
        if found.is_some_and(|found| found.version != version) {
            outdated.push(name);
        }
    }
    Ok(outdated)
}
