//! Creating the schemas of projections, and connections that point at them.

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use sqlx::postgres::types::Oid;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool, Row};

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
pub(crate) async fn lock(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_xact_lock(hashtext($1))")
        .bind(schema)
        .execute(connection)
        .await?;
    Ok(())
}

/// Creates the schema of every projection that has none yet. Those of another version than this
/// build's are left as they are: a rebuild takes their place while they serve. `options` connect as
/// the role that is to own them: the one the projectors run as.
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
    if found(&mut transaction, schema).await?.is_some() {
        return transaction.commit().await;
    }
    make::<P>(&mut transaction, schema, &version_of::<P>()).await?;
    transaction.commit().await
}

/// Makes an empty model, in a schema that says what it is.
pub(crate) async fn make<P: Projection>(
    connection: &mut PgConnection,
    schema: &str,
    says: &str,
) -> Result<(), sqlx::Error> {
    connection.execute(format!("create schema {schema}").as_str()).await?;
    connection.execute(P::DDL).await?;
    say(connection, schema, says).await
}

/// What the schema of a model says of itself.
pub(crate) fn version_of<P: Projection>() -> String {
    format!("version {}", P::VERSION)
}

/// Makes a schema say what it is; `says` holds no quotes.
pub(crate) async fn say(
    connection: &mut PgConnection,
    schema: &str,
    says: &str,
) -> Result<(), sqlx::Error> {
    connection.execute(format!("comment on schema {schema} is '{says}'").as_str()).await?;
    Ok(())
}

/// The schema of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) oid: Oid,
    pub(crate) version: i32,
    pub(crate) says: String,
}

/// The schema of this name, if it is there.
pub(crate) async fn found(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Option<Found>, sqlx::Error> {
    let row = sqlx::query(
        "select oid, coalesce(obj_description(oid, 'pg_namespace'), '') as says,
                coalesce(substring(obj_description(oid, 'pg_namespace')
                                   from '^version ([0-9]{1,9})')::integer, 1) as version
         from pg_namespace where nspname = $1",
    )
    .bind(schema)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let (oid, version) = (row.try_get("oid")?, row.try_get("version")?);
        Ok(Found { oid, version, says: row.try_get("says")? })
    })
    .transpose()
}

/// Which schema has this name now.
pub(crate) async fn oid(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Option<Oid>, sqlx::Error> {
    sqlx::query_scalar("select oid from pg_namespace where nspname = $1")
        .bind(schema)
        .fetch_optional(connection)
        .await
}

/// Projections whose model is of another version than this build's.
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
