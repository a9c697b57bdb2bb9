//! The shadow schema, which a rebuild fills: created, or found as an interrupted rebuild left it.

use eventstore::EventStore;
use eventstore::consume::Runner;
use eventstore::parked::Parked;
use sha2::{Digest, Sha256};
use sqlx::{Connection, Executor, PgConnection};

use super::{Purpose, RebuildError, indexes};
use crate::projection::Projection;
use crate::projector::Projector;
use crate::schema;

/// Name of the shadow schema of `P`, and of its checkpoint.
pub(crate) fn name<P: Projection>() -> String {
    format!("{}__rebuild", P::NAME)
}

/// The comment on the shadow schema: only one with the same comment can be filled further.
fn comment<P: Projection>() -> String {
    let digest = Sha256::digest(P::DDL);
    let hash = digest.iter().take(8).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
    format!("{}, rebuilt with tables {hash:016x}", schema::comment::<P>())
}

/// Creates the shadow schema, or finds it, and starts `projector` on it.
pub(super) async fn begin<'p, P: Projection>(
    control: &mut PgConnection,
    store: &EventStore,
    purpose: Purpose,
    projector: &'p mut Projector<P>,
) -> Result<Runner<'p, Projector<P>>, RebuildError> {
    let (name, comment) = (name::<P>(), comment::<P>());
    let mut transaction = control.begin().await?;
    schema::lock(&mut transaction, P::NAME).await?;
    let live = schema::found(&mut transaction, P::NAME).await?;
    let live = live.ok_or(RebuildError::NoModel(P::NAME))?;
    if purpose.compares() && live.version != P::VERSION {
        return Err(RebuildError::OtherVersion(P::NAME));
    }
    let reached: Option<bool> = sqlx::query_scalar(
        "select not $3 or b.position <= coalesce(l.position, 0) from log.checkpoint b
         left join log.checkpoint l on l.consumer = $2 where b.consumer = $1",
    )
    .bind(&name)
    .bind(P::NAME)
    .bind(purpose.compares())
    .fetch_optional(&mut *transaction)
    .await?;
    let found = schema::found(&mut transaction, &name).await?;
    if reached != Some(true) || found.is_none_or(|found| found.comment != comment) {
        remove(&mut transaction, &name).await?;
        // Until the commit.
        transaction.execute(format!("set local search_path = {name}").as_str()).await?;
        schema::create::<P>(&mut transaction, &name, &comment).await?;
        indexes::defer::<P>(&mut transaction, &name).await?;
        sqlx::query("insert into log.checkpoint (consumer, position) values ($1, 0)")
            .bind(&name)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;

    let mut runner = Runner::start(projector, store).await?;
    // The events that the live projection skips, its rebuild skips, too.
    runner.parked.skip(Parked::load_skipped(store.pool(), P::NAME).await?);
    Ok(runner)
}

/// Drops the shadow schema and its checkpoint.
pub(super) async fn discard<P: Projection>(control: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = control.begin().await?;
    remove(&mut transaction, &name::<P>()).await?;
    transaction.commit().await
}

async fn remove(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    connection.execute(format!("drop schema if exists {name} cascade").as_str()).await?;
    for table in ["checkpoint", "parked"] {
        let forget = format!("delete from log.{table} where consumer = $1");
        sqlx::query(&forget).bind(name).execute(&mut *connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shadow_schemas_of_different_tables_have_different_comments() {
        assert_ne!(comment::<crate::works::Works>(), comment::<crate::users::Users>());
        assert_eq!(name::<crate::works::Works>(), "works__rebuild");
    }
}
