//! Leases: one of several processes does what only one should do, and another takes over when it
//! dies. A lease saves work and guarantees nothing, because its owner may be paused and wake up after
//! its end: what is done under a lease must be idempotent.

use std::time::Duration;

use uuid::Uuid;

use crate::{EventStore, Unavailable};

impl EventStore {
    /// Takes or extends the lease `name` for `owner`, for the duration `for_` from now by the
    /// database's clock. False while another owner holds it. A lease that ends much later than in
    /// the duration `for_` was taken while that clock was ahead, and holds no longer.
    pub async fn take_lease(
        &self,
        name: &str,
        owner: Uuid,
        for_: Duration,
    ) -> Result<bool, Unavailable> {
        let taken = sqlx::query(
            "insert into log.lease as l (name, owner, until)
             values ($1, $2, clock_timestamp() + make_interval(secs => $3))
             on conflict (name) do update set owner = excluded.owner, until = excluded.until
             where l.owner = excluded.owner or l.until <= clock_timestamp()
               or l.until > clock_timestamp() + make_interval(secs => 2 * $3 + 60)",
        )
        .bind(name)
        .bind(owner)
        .bind(for_.as_secs_f64())
        .execute(self.pool())
        .await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Records that `id` is used, and remembers this for the duration `for_` from now by the database's
    /// clock. False if it is recorded already: of two callers, one gets true. Forgets ids of the same
    /// `kind` whose time is over. Unlike a lease, this is exact.
    pub async fn use_once(
        &self,
        kind: &str,
        id: Uuid,
        for_: Duration,
    ) -> Result<bool, Unavailable> {
        let used = sqlx::query(
            "with forgotten as (
               delete from log.lease where name in (
                 select name from log.lease
                 where name ^@ ($1 || ' ') and until <= clock_timestamp()
                 limit 100 for update skip locked
               )
             )
             insert into log.lease (name, owner, until)
             values ($1 || ' ' || $2::text, $2, clock_timestamp() + make_interval(secs => $3))
             on conflict (name) do nothing",
        )
        .bind(kind)
        .bind(id)
        .bind(for_.as_secs_f64())
        .execute(self.pool())
        .await?;
        Ok(used.rows_affected() == 1)
    }

    /// Releases the lease `name` if `owner` holds it, so that another process need not wait for its end.
    pub async fn release_lease(&self, name: &str, owner: Uuid) -> Result<(), Unavailable> {
        sqlx::query("delete from log.lease where name = $1 and owner = $2")
            .bind(name)
            .bind(owner)
            .execute(self.pool())
            .await?;
        Ok(())
    }
}
