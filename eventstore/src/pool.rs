//! Connections to Postgres: the limits of their sessions, and the pool that the log is read with.
//!
//! All settings are set by statements after connecting: a connection pooler in front of Postgres
//! refuses `options` and unknown parameters in the start-up packet.

use std::fmt::Write;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection, Executor, PgConnection, PgPool};
use tokio::time::timeout;

/// How long a caller of the pool waits for a connection before it gets an error.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time to open a connection outside the pool.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Unanswered keepalive probes after which the server closes a connection.
const KEEPALIVES: u32 = 3;

/// Settings of every session. Sequential and bitmap scans are off: the statistics of a young table
/// are wrong, and the planner would scan all of it. Every statement has an index that suits it.
const SETTINGS: &str = "set enable_seqscan = off; set enable_bitmapscan = off;
    set plan_cache_mode = force_generic_plan; set jit = off; set timezone = 'UTC'";

/// Ends a session with a standby: a pool would keep it after a failover, with data that grows old.
const REFUSE_STANDBY: &str = "; do $$ begin if pg_is_in_recovery() then
    raise exception using errcode = 'read_only_sql_transaction', message = 'the server is a standby';
    end if; end $$";

/// Limits of a session, which Postgres enforces. Zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Longest time of a statement.
    pub statement: Duration,
    /// Longest wait for a lock.
    pub lock: Duration,
    /// Longest wait inside a transaction for the next statement of the process.
    pub idle_in_transaction: Duration,
    /// Time after which a connection whose other end does not answer is closed.
    pub tcp: Duration,
    /// Interval at which a running statement checks that its client is still connected.
    pub client_check: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(30),
            lock: Duration::from_secs(3),
            idle_in_transaction: Duration::from_secs(2),
            tcp: Duration::from_secs(10),
            client_check: Duration::from_secs(1),
        }
    }
}

/// The server and database to connect to, and the limits of the sessions.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    server: PgConnectOptions,
    limits: SessionLimits,
    /// Whether a standby is refused.
    primary: bool,
}

impl From<PgConnectOptions> for ConnectOptions {
    fn from(server: PgConnectOptions) -> Self {
        Self::new(server, SessionLimits::default())
    }
}

impl ConnectOptions {
    /// Connects to `server`, with these limits.
    pub fn new(server: PgConnectOptions, limits: SessionLimits) -> Self {
        // A pooler does not know this parameter, and since Postgres 12 the default is exact.
        Self { server: server.extra_float_digits(None), limits, primary: false }
    }

    /// The same, but a standby is refused: for processes that write.
    #[must_use]
    pub fn primary_only(mut self) -> Self {
        self.primary = true;
        self
    }

    /// Returns the limits of the sessions.
    pub fn limits(&self) -> SessionLimits {
        self.limits
    }

    /// The same without limits of statements, locks and idle transactions: for rebuilds,
    /// verification and migrations.
    #[must_use]
    pub fn without_time_limits(mut self) -> Self {
        let none = Duration::ZERO;
        self.limits =
            SessionLimits { statement: none, lock: none, idle_in_transaction: none, ..self.limits };
        self
    }

    /// For a consumer's own session, in which a statement may write a large batch: only the time
    /// that it is idle in a transaction is limited, to the limit of a statement.
    #[must_use]
    pub fn for_consumer(mut self) -> Self {
        let SessionLimits { statement, .. } = self.limits;
        self = self.without_time_limits();
        self.limits.idle_in_transaction = statement;
        self
    }

    /// Opens a connection outside of any pool within 5 s, with further `settings` of its session.
    pub async fn connect(&self, settings: &[(&str, &str)]) -> Result<PgConnection, sqlx::Error> {
        let connecting = async {
            let mut connection = self.server.connect().await?;
            connection.execute(self.session(settings).as_str()).await?;
            Ok(connection)
        };
        timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_elapsed| Err(timed_out()))
    }

    /// The statements that prepare a session.
    fn session(&self, settings: &[(&str, &str)]) -> String {
        let SessionLimits { statement, lock, idle_in_transaction, tcp, client_check } = self.limits;
        let mut sql = SETTINGS.to_owned();
        let probe = tcp / (KEEPALIVES + 1);
        for (name, value) in [
            ("statement_timeout", statement.as_millis()),
            ("lock_timeout", lock.as_millis()),
            ("idle_in_transaction_session_timeout", idle_in_transaction.as_millis()),
            ("tcp_user_timeout", tcp.as_millis()),
            ("tcp_keepalives_idle", u128::from(probe.as_secs().max(1))),
            ("tcp_keepalives_interval", u128::from(probe.as_secs().max(1))),
            ("tcp_keepalives_count", u128::from(KEEPALIVES)),
            ("client_connection_check_interval", client_check.as_millis()),
        ] {
            write!(sql, "; set {name} = {value}").ok();
        }
        for (name, value) in settings {
            write!(sql, "; set {name} = '{value}'").ok();
        }
        if self.primary {
            sql += REFUSE_STANDBY;
        }
        sql
    }
}

/// The error of an operation that took too long.
pub(crate) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into())
}

/// A pool of connections, and the options of further connections outside it. Dereferences to the
/// [`PgPool`].
#[derive(Debug, Clone)]
pub struct Pool {
    pool: PgPool,
    options: ConnectOptions,
}

impl Pool {
    /// Returns the options of the pool's connections.
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }
}

impl Deref for Pool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.pool
    }
}

/// A pool whose connections have settings of their own.
impl From<PgPool> for Pool {
    fn from(pool: PgPool) -> Self {
        let options = PgConnectOptions::clone(&pool.connect_options()).into();
        Self { pool, options }
    }
}

/// How long a released connection may be busy with the statement of a caller that went away.
const ABANDONED: Duration = Duration::from_secs(1);

/// Returns whether the connection is ready for the next caller. One that is not is closed: otherwise
/// callers that go away while their statements wait for a lock would occupy the whole pool.
async fn is_ready(connection: &mut PgConnection) -> bool {
    timeout(ABANDONED, connection.flush()).await.is_ok_and(|flushed| flushed.is_ok())
}

/// When a statement last failed because a rebuild had replaced its tables by others with other columns.
static TABLES_REPLACED: Mutex<Option<Instant>> = Mutex::new(None);

/// Whether a rebuild has replaced the tables of a statement by others with other columns, for example
/// the rebuild of a newer build. Every pool of this process then closes the connections that it has:
/// their prepared statements would fail again.
pub fn reconnects_after(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref());
    let outdated = error.and_then(PgDatabaseError::routine) == Some("RevalidateCachedQuery");
    if outdated {
        *TABLES_REPLACED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
    outdated
}

/// Whether a connection of this age was opened after tables were replaced.
fn is_current(age: Duration) -> bool {
    let replaced = *TABLES_REPLACED.lock().unwrap_or_else(PoisonError::into_inner);
    replaced.is_none_or(|replaced| age < replaced.elapsed())
}

/// Returns a pool of at most `connections` connections, which are opened on first use.
pub fn pool(options: impl Into<ConnectOptions>, connections: u32) -> Pool {
    let options = options.into();
    let session: Arc<str> = options.session(&[]).into();
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .before_acquire(|_, connection| Box::pin(async move { Ok(is_current(connection.age)) }))
        .after_release(|connection, _| Box::pin(async { Ok(is_ready(connection).await) }))
        .after_connect(move |connection, _| {
            let session = Arc::clone(&session);
            Box::pin(async move {
                connection.execute(&*session).await?;
                Ok(())
            })
        })
        .connect_lazy_with(options.server.clone());
    Pool { pool, options }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tools_keep_only_the_limits_of_the_network() {
        let options = ConnectOptions::from(PgConnectOptions::new());
        let session = options.clone().session(&[("search_path", "works")]);
        for setting in [
            "set statement_timeout = 30000",
            "set lock_timeout = 3000",
            "set idle_in_transaction_session_timeout = 2000",
            "set tcp_user_timeout = 10000",
            "set client_connection_check_interval = 1000",
            "set search_path = 'works'",
        ] {
            assert!(session.contains(setting), "{setting} is not in {session}");
        }
        let long = options.without_time_limits().session(&[]);
        assert!(long.contains("set statement_timeout = 0; set lock_timeout = 0"), "{long}");
        assert!(long.contains("set tcp_user_timeout = 10000"), "{long}");
    }
}
