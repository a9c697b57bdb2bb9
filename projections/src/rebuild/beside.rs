//! The schema a rebuild fills: begun anew, or found as an interrupted rebuild left it.

use eventstore::{EventStore, Filter};
use sha2::{Digest, Sha256};
use sqlx::{Connection, Executor, PgConnection};

use super::{Purpose, RebuildError, indexes};
use crate::projection::Projection;
use crate::runner::{BATCH_EVENTS, Runner, SUSPICIOUS_STARTS};
use crate::schema;

/// Name of the schema and of the consumer of `P`'s rebuild.
pub(crate) fn name<P: Projection>() -> String {
    format!("{}__rebuild", P::NAME)
}

/// What such a schema says of itself: only one that says the same can be gone on with.
fn says<P: Projection>() -> String {
    let digest = Sha256::digest(P::DDL);
    let hash = digest.iter().take(8).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
    format!("{}, rebuilt with tables {hash:016x}", schema::version_of::<P>())
}

/// A runner of the model beside the live one.
pub(super) async fn begin<P: Projection>(
    desk: &mut PgConnection,
    store: &EventStore,
    purpose: Purpose,
) -> Result<Runner<P>, RebuildError> {
    let (name, says) = (name::<P>(), says::<P>());
    let mut transaction = desk.begin().await?;
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
    if reached != Some(true) || found.is_none_or(|found| found.says != says) {
        remove(&mut transaction, &name).await?;
        // The connection's own setting comes back at the commit.
        transaction.execute(format!("set local search_path = {name}").as_str()).await?;
        schema::make::<P>(&mut transaction, &name, &says).await?;
        indexes::put_off::<P>(&mut transaction).await?;
        sqlx::query("insert into log.checkpoint (consumer, position) values ($1, 0)")
            .bind(&name)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;

    let checkpoint = store.start_consumer(&name).await?;
    let mut runner = Runner::<P>::open(store, name, checkpoint.position).await?;
    if checkpoint.starts > SUSPICIOUS_STARTS {
        take_care(store, &mut runner).await?;
    }
    Ok(runner)
}

/// Something here has killed the process more than once: event by event past it.
async fn take_care<P: Projection>(
    store: &EventStore,
    runner: &mut Runner<P>,
) -> Result<(), RebuildError> {
    let position = runner.position;
    tracing::warn!(projection = P::NAME, %position, "a rebuild went down here; taking care");
    let (head, filter) = (store.head().await?, Filter::categories(P::CATEGORIES));
    let page = store.read(position, head, &filter, BATCH_EVENTS).await?;
    let events: Vec<_> = page.events.into_iter().map(Into::into).collect();
    runner.apply_carefully(&events).await?;
    Ok(())
}

/// Throws the model beside the live one away.
pub(super) async fn discard<P: Projection>(desk: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = desk.begin().await?;
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
    fn another_model_says_something_else() {
        assert_ne!(says::<crate::works::Works>(), says::<crate::users::Users>());
        assert_eq!(name::<crate::works::Works>(), "works__rebuild");
    }
}
