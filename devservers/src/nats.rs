//! A private nats-server with `JetStream`.

use super::error::{Error, Packages};
use super::home::Home;
use super::programs;
use super::server::{Program, Server};
use super::signal::Signal;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const NAME: &str = "nats-server";
const CONFIG: &str = "nats-server.conf";
const STORE: &str = "jetstream";
const PID: &str = "nats-server.pid";
/// Holds a random secret, from which the passwords of the accounts are derived: they stay valid
/// between runs.
const SECRET: &str = "secret";
/// The start of the server's first message, which clients wait for.
const GREETING: &[u8] = b"INFO {";

pub(super) const PACKAGES: Packages = Packages {
    debian: "nats-server",
    fedora: None,
    alpine: "nats-server",
    macos: "nats-server",
    elsewhere: "https://github.com/nats-io/nats-server/releases",
};

/// The accounts of the server. `deploy/nats/tributary.conf` describes what each may do.
pub const ACCOUNTS: [&str; 7] =
    ["admin", "tributary", "relay", "worker", "gateway", "subscriber", "producer"];

/// Options of a private nats-server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// By default the port of the last run if it is free, otherwise a free port.
    pub port: Option<u16>,
    /// Path of the program. By default found on the search path.
    pub binary: Option<PathBuf>,
    /// Port of the monitoring pages. By default they are not served.
    pub monitor: Option<u16>,
    /// Port of the MQTT listener, which supports 3.1.1 only. By default there is none.
    pub mqtt: Option<u16>,
    /// Whether a client without a user name is the account `admin`, which may do everything. By
    /// default such a client is refused.
    pub anonymous_admin: bool,
    /// Bytes that all streams may store on disk. By default what the server chooses.
    pub store_limit: Option<u64>,
    /// Further lines of its configuration.
    pub more: String,
    /// Settings and accounts in place of those of `deploy/nats/tributary.conf`.
    pub accounts: Option<String>,
}

/// A running nats-server; killed when dropped.
pub struct Nats {
    server: Server<Settings>,
}

impl Nats {
    /// Starts on the data in `directory`; creates the data if there is none.
    pub async fn start(directory: &Path, options: Options) -> Result<Self, Error> {
        let home = Home::claim(NAME, directory, &[]).await?;
        let binary = match options.binary {
            Some(binary) => binary,
            None => programs::find(NAME, &PACKAGES).await?,
        };
        let Options { monitor, mqtt, anonymous_admin, store_limit, more, accounts, .. } = options;
        let secret = home.secret(SECRET)?;
        let settings = Settings {
            binary,
            monitor,
            mqtt,
            anonymous_admin,
            secret,
            store_limit,
            more,
            accounts,
        };
        Ok(Self { server: Server::start(settings, home, options.port).await? })
    }

    /// The address without an account.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// The address with the name and the password of one of the [`ACCOUNTS`].
    pub fn url_as(&self, account: &str) -> String {
        let password = password(&self.server.program().secret, account);
        format!("nats://{account}:{password}@127.0.0.1:{}", self.port())
    }

    /// Returns the password of one of the [`ACCOUNTS`].
    pub fn password_of(&self, account: &str) -> String {
        password(&self.server.program().secret, account)
    }

    /// Returns the TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Returns the directory of data and log.
    pub fn directory(&self) -> &Path {
        self.server.home().path()
    }

    /// Shuts it down. [`restart`](Self::restart) starts it again.
    pub async fn stop(&mut self) {
        self.server.stop().await;
    }

    /// By SIGKILL. What the kernel has of its files survives; what a power failure would take, up
    /// to two minutes of acknowledged messages, cannot be shown this way: see `wipe_jetstream`.
    pub async fn kill(&mut self) {
        self.server.kill().await;
    }

    /// Restarts it with the same port and data; also starts it after [`stop`](Self::stop) or
    /// [`kill`](Self::kill).
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.server.restart().await
    }

    /// Kills it and restarts it without any stream, as after the loss of its disk.
    pub async fn wipe_jetstream(&mut self) -> Result<(), Error> {
        self.server.kill().await;
        let store = self.server.home().file(STORE);
        match tokio::fs::remove_dir_all(&store).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &store)(error))
            }
            _removed_or_never_there => self.server.restart().await,
        }
    }
}

struct Settings {
    binary: PathBuf,
    monitor: Option<u16>,
    mqtt: Option<u16>,
    anonymous_admin: bool,
    secret: String,
    store_limit: Option<u64>,
    more: String,
    accounts: Option<String>,
}

impl Program for Settings {
    const NAME: &'static str = NAME;
    const STOP: Signal = Signal::Terminate;
    const CRASH: Signal = Signal::Kill;
    const START_PATIENCE: Duration = Duration::from_secs(30); // It reads its streams first.

    fn pid_file(&self, home: &Home) -> PathBuf {
        home.file(PID)
    }

    /// Uses only settings of 2.9 (Debian 12): an unknown setting is an error.
    fn configure(&self, home: &Home, port: u16) -> Result<(PathBuf, Vec<OsString>), Error> {
        let monitor = self.monitor.map(|port| format!("http: \"127.0.0.1:{port}\"\n"));
        // MQTT sessions are stored under the server's name.
        let mqtt = self.mqtt.map(|port| {
            format!("server_name: tributary\nmqtt {{ listen: \"127.0.0.1:{port}\" }}\n")
        });
        let limit = self.store_limit.map(|bytes| format!(", max_file: {bytes}"));
        let mut settings = format!(
            "# Written by tributary at every start.\n\
             listen: \"127.0.0.1:{port}\"\n\
             pid_file: {pid}\n\
             jetstream {{ store_dir: {store}{limit} }}\n\
             {monitor}{mqtt}",
            pid = quoted(&home.file(PID)),
            store = quoted(&home.file(STORE)),
            limit = limit.unwrap_or_default(),
            monitor = monitor.unwrap_or_default(),
            mqtt = mqtt.unwrap_or_default(),
        );
        for account in ACCOUNTS.iter().filter(|_| self.accounts.is_none()) {
            let (name, password) = (account.to_uppercase(), password(&self.secret, account));
            writeln!(settings, "NATS_{name}_PASSWORD: \"{password}\"").ok();
        }
        if self.anonymous_admin {
            settings.push_str("no_auth_user: admin\n");
        }
        settings.push_str(&self.more);
        settings.push_str(self.accounts.as_deref().unwrap_or(SETTINGS));
        let file = home.write_private(CONFIG, &settings)?;
        Ok((self.binary.clone(), vec!["-c".into(), file.into()]))
    }

    async fn answers(&self, port: u16) -> bool {
        let greet = async {
            let mut greeting = [0; GREETING.len()];
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            server.read_exact(&mut greeting).await?;
            Ok::<_, io::Error>(greeting)
        };
        greet.await.is_ok_and(|greeting| greeting == GREETING)
    }
}

/// The settings and accounts that operators use, too.
const SETTINGS: &str = include_str!("../../deploy/nats/tributary.conf");

fn password(secret: &str, account: &str) -> String {
    hex::encode(&Sha256::digest(format!("{secret} {account}"))[..16])
}

/// Quotes a string of the configuration language, in which a backslash escapes.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
