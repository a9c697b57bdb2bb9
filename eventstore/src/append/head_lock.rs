//! The session that holds the lock of the log's head for too long: named for the operator, and ended
//! if its process does not go on.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

/// The session that holds the lock.
#[derive(Debug)]
pub(crate) struct Holder {
    pid: i32,
    role: String,
    application: String,
    /// Whether its commit waits for a synchronous standby. To end the session would make the
    /// transaction visible before a standby has it.
    waits_for_standby: bool,
    /// Whether the session was ended, so that the lock is free.
    pub(crate) ended: bool,
}

/// Finds the session that holds the lock of the head; none if it is free again.
///
/// Ends the session if it is one of the application's role that waits for its process for longer
/// than `idle`: that process is stopped, or its host is gone. Postgres does so itself between two
/// statements, but not inside a COPY.
pub(crate) async fn find_holder(
    connection: &mut PgConnection,
    idle: Duration,
) -> Result<Option<Holder>, sqlx::Error> {
    // `xmax` of a locked row is the transaction that locks it. A role without privileges sees the
    // state of its own sessions only; for all others it is null.
    let row = sqlx::query(
        "select a.pid, coalesce(a.usename::text, '') as role, a.application_name as application,
                coalesce(a.wait_event = 'SyncRep', false) as waits_for_standby,
                coalesce(
                  case when a.usename = current_user and a.wait_event = 'ClientRead' and $1 > 0
                         and greatest(a.state_change, a.query_start)
                             < clock_timestamp() - make_interval(secs => $1)
                       then pg_terminate_backend(a.pid) end, false) as ended
         from log.head h
         join pg_locks l on l.locktype = 'transactionid' and l.granted
           and l.mode = 'ExclusiveLock' and l.transactionid = h.xmax
         join pg_stat_activity a on a.pid = l.pid",
    )
    .bind(idle.as_secs_f64())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(from_row).transpose()
}

fn from_row(row: &PgRow) -> Result<Holder, sqlx::Error> {
    Ok(Holder {
        pid: row.try_get("pid")?,
        role: row.try_get("role")?,
        application: row.try_get("application")?,
        waits_for_standby: row.try_get("waits_for_standby")?,
        ended: row.try_get("ended")?,
    })
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, role, application, .. } = self;
        write!(f, "the session with pid {pid} of role `{role}`")?;
        if !application.is_empty() {
            write!(f, " (application `{application}`)")?;
        }
        f.write_str(if self.waits_for_standby {
            " waits until a synchronous standby has its commit: check the standbys"
        } else {
            " holds the lock of log.head: end its transaction"
        })
    }
}
