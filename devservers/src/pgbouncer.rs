//! A private `PgBouncer`, a connection pooler in front of a private Postgres, for tests.

use super::error::{Error, Packages};
use super::home::Home;
use super::postgres::ACCOUNTS;
use super::programs;
use super::server::{Program, Server};
use super::signal::Signal;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;

const NAME: &str = "PgBouncer";
const CONFIG: &str = "pgbouncer.ini";
const USERS: &str = "users.txt";
const PID: &str = "pgbouncer.pid";

const PACKAGES: Packages = Packages {
    debian: "pgbouncer",
    fedora: Some("pgbouncer"),
    alpine: "pgbouncer",
    macos: "pgbouncer",
    elsewhere: "https://www.pgbouncer.org/install.html",
};

/// Options of a private `PgBouncer`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port of the Postgres behind it.
    pub postgres_port: u16,
    /// `session`, `transaction` or `statement`.
    pub pool_mode: &'static str,
    /// Roles that may connect, without a password.
    pub roles: Vec<String>,
}

/// A running `PgBouncer`; killed when dropped.
pub struct Pgbouncer {
    server: Server<Settings>,
}

impl Pgbouncer {
    /// Starts on the data in `directory`; creates the data if there is none.
    pub async fn start(directory: &Path, options: Options) -> Result<Self, Error> {
        let home = Home::claim(NAME, directory, &ACCOUNTS).await?;
        let binary = programs::find("pgbouncer", &PACKAGES).await?;
        Ok(Self { server: Server::start(Settings { binary, options }, home, None).await? })
    }

    /// Returns the URL of a database for a role.
    pub fn url(&self, database: &str, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.server.port())
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

struct Settings {
    binary: PathBuf,
    options: Options,
}

impl Program for Settings {
    const NAME: &'static str = NAME;
    const STOP: Signal = Signal::Terminate;
    const CRASH: Signal = Signal::Kill;
    const START_PATIENCE: Duration = Duration::from_secs(30);

    fn pid_file(&self, home: &Home) -> PathBuf {
        home.file(PID)
    }

    fn configure(&self, home: &Home, port: u16) -> Result<(PathBuf, Vec<OsString>), Error> {
        let Options { postgres_port, pool_mode, roles } = &self.options;
        let users: Vec<_> = roles.iter().map(|role| format!("\"{role}\" \"\"\n")).collect();
        let users = home.write(USERS, &users.concat())?;
        let settings = format!(
            "; Written by tributary at every start.\n\
             [databases]\n\
             * = host=127.0.0.1 port={postgres_port}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             pidfile = {directory}/{PID}\n\
             auth_type = trust\n\
             auth_file = {users}\n\
             pool_mode = {pool_mode}\n\
             default_pool_size = 90\n\
             max_client_conn = 400\n",
            directory = home.path().display(),
            users = users.display(),
        );
        let file = home.write(CONFIG, &settings)?;
        Ok((self.binary.clone(), vec![file.into()]))
    }

    async fn answers(&self, port: u16) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
    }
}
