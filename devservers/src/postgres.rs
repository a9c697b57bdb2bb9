//! A private Postgres: durable as in production, on loopback only, without passwords.

use super::cluster::{self, ADMIN, Binaries};
use super::error::Error;
use super::home::Home;
use super::server::{Program, Server};
use super::signal::Signal;
use sqlx::Connection;
use sqlx::migrate::MigrateDatabase;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "Postgres";
/// Accounts to run as if the caller is root, which Postgres and `PgBouncer` refuse; the first one that
/// exists.
pub(crate) const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
/// SQLSTATEs of a database that exists or is created concurrently.
const DUPLICATE: [&str; 2] = ["42P04", "23505"];

/// Options of a private Postgres.
#[derive(Clone, Debug)]
pub struct Options {
    /// By default the port of the last run if it is free, otherwise a free port.
    pub port: Option<u16>,
    /// The directory with `postgres` and `initdb`. By default that on the search path, otherwise
    /// the newest version.
    pub binaries: Option<PathBuf>,
    /// `shared_buffers` in MiB.
    pub shared_buffers_mib: u32,
    /// Whether to use fsync. Without it, a commit survives a crash of Postgres, but not of the
    /// machine.
    pub durable: bool,
    /// Certificate and key. By default the server does not offer TLS.
    pub tls: Option<Tls>,
}

/// A certificate of the server, in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate.
    pub certificate: String,
    /// Private key.
    pub key: String,
    /// Certificates of the CA whose clients `clientcert` in `pg_hba.conf` admits.
    pub client_ca: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: None, binaries: None, shared_buffers_mib: 256, durable: true, tls: None }
    }
}

/// A running Postgres; killed when dropped.
pub struct Postgres {
    server: Server<Settings>,
}

impl Postgres {
    /// Starts on the data in `directory`; creates the data if there is none.
    pub async fn start(directory: &Path, options: Options) -> Result<Self, Error> {
        let home = Home::claim(NAME, directory, &ACCOUNTS).await?;
        let binaries = Binaries::find(options.binaries.as_deref(), &home).await?;
        cluster::ensure(&home, &binaries, options.durable).await?;
        let wanted = options.port;
        let timescale = binaries.has_timescale().await;
        let settings = Settings { binaries, timescale, options };
        Ok(Self { server: Server::start(settings, home, wanted).await? })
    }

    /// Returns the URL of the database `postgres` for the superuser.
    pub fn admin_url(&self) -> String {
        self.url(ADMIN, ADMIN)
    }

    /// Returns the URL of a database for a role.
    pub fn url(&self, database: &str, role: &str) -> String {
        url(self.port(), database, role)
    }

    /// Creates the database if it does not exist.
    pub async fn create_database(&self, name: &str) -> Result<(), Error> {
        match sqlx::Postgres::create_database(&self.url(name, ADMIN)).await {
            Err(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| DUPLICATE.contains(&&*code)) =>
            {
                Ok(())
            }
            outcome => outcome.map_err(|source| Error::Database { name: name.to_owned(), source }),
        }
    }

    /// Returns the path of a program of the server's version, such as `pg_dump`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.server.program().binaries.program(name)
    }

    /// Whether `TimescaleDB` is installed, in which case some tables become hypertables.
    pub fn has_timescale(&self) -> bool {
        self.server.program().timescale
    }

    /// Returns the TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The directory of its data and log, which is another than requested if its user cannot enter
    /// that one.
    pub fn directory(&self) -> &Path {
        self.server.home().path()
    }

    /// Shuts it down. [`restart`](Self::restart) starts it again.
    pub async fn stop(&mut self) {
        self.server.stop().await;
    }

    /// Crashes it: no checkpoint, closed connections, recovery from the WAL at the next start. Uses
    /// an immediate shutdown, because SIGKILL would leave child processes and shared memory behind.
    pub async fn kill(&mut self) {
        self.server.kill().await;
    }

    /// Restarts it with the same port and data; also starts it after [`stop`](Self::stop) or
    /// [`kill`](Self::kill).
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.server.restart().await
    }
}

fn url(port: u16, database: &str, role: &str) -> String {
    format!("postgres://{role}@127.0.0.1:{port}/{database}")
}

/// Writes the files of the server's certificate, and returns the settings that name them.
fn settings_of(tls: &Tls, home: &Home) -> Result<String, Error> {
    let certificate = home.write("server.pem", &tls.certificate)?;
    let client_ca = home.write("client-ca.pem", &tls.client_ca)?;
    let key = home.write_key("server.key", &tls.key)?;
    let [certificate, client_ca, key] = [&certificate, &client_ca, &key].map(|file| file.display());
    Ok(format!(
        "ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n\
         ssl_ca_file = '{client_ca}'\n"
    ))
}

struct Settings {
    binaries: Binaries,
    timescale: bool,
    options: Options,
}

impl Program for Settings {
    const NAME: &'static str = NAME;
    const STOP: Signal = Signal::Interrupt; // "Fast": SIGTERM would wait for every client to leave.
    const CRASH: Signal = Signal::Quit;
    const START_PATIENCE: Duration = Duration::from_mins(1); // Recovery replays up to 2 GB of log.

    fn pid_file(&self, home: &Home) -> PathBuf {
        cluster::path(home).join("postmaster.pid")
    }

    fn configure(&self, home: &Home, port: u16) -> Result<(PathBuf, Vec<OsString>), Error> {
        cluster::remove_reused_pid_file(home);
        let Options { shared_buffers_mib, durable, ref tls, .. } = self.options;
        let tls = tls.as_ref().map(|tls| settings_of(tls, home)).transpose()?.unwrap_or_default();
        let fsync = if durable { "on" } else { "off" };
        let timescale = if self.timescale {
            "shared_preload_libraries = 'timescaledb'\ntimescaledb.telemetry_level = off\n"
        } else {
            ""
        };
        let settings = format!(
            "# Written by tributary at every start. ALTER SYSTEM keeps settings of your own.\n\
             listen_addresses = '127.0.0.1'\n\
             port = {port}\n\
             # No sockets: their paths are limited to 107 bytes, and ours are the user's to choose.\n\
             unix_socket_directories = ''\n\
             max_connections = 200\n\
             shared_buffers = {shared_buffers_mib}MB\n\
             wal_level = replica\n\
             max_wal_size = 2GB\n\
             fsync = {fsync}\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             log_line_prefix = '%m [%p] %u@%d '\n\
             {timescale}{tls}"
        );
        let file = home.write("postgresql.conf", &settings)?;
        let mut config = OsString::from("config_file=");
        config.push(file);
        let arguments = vec!["-D".into(), cluster::path(home).into(), "-c".into(), config];
        Ok((self.binaries.program("postgres"), arguments))
    }

    async fn answers(&self, port: u16) -> bool {
        match sqlx::PgConnection::connect(&url(port, ADMIN, ADMIN)).await {
            Ok(connection) => connection.close().await.is_ok(),
            Err(_) => false, // Not listening yet, or "the database system is starting up".
        }
    }
}
