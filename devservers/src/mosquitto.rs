//! A private Mosquitto, the MQTT broker that devices connect to.

use super::error::{Error, Packages};
use super::home::Home;
use super::programs;
use super::server::{Program, Server};
use super::signal::Signal;
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NAME: &str = "Mosquitto";
/// Started by root, Mosquitto changes its user itself, which clears the parent-death signal; it
/// would not end with this process.
const ACCOUNTS: [&str; 2] = ["mosquitto", "nobody"];
const CONFIG: &str = "mosquitto.conf";
const PID: &str = "mosquitto.pid";

/// MQTT 3.1.1 CONNECT: clean session, no client id; and the start of the CONNACK it is answered
/// with, whatever the verdict.
const CONNECT: [u8; 14] = *b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00";
const CONNACK: [u8; 2] = [0x20, 0x02];
const DISCONNECT: [u8; 2] = [0xe0, 0x00];

const PACKAGES: Packages = Packages {
    debian: "mosquitto",
    fedora: Some("mosquitto"),
    alpine: "mosquitto",
    macos: "mosquitto",
    elsewhere: "https://mosquitto.org/download",
};

/// Options of a private Mosquitto.
#[derive(Clone, Debug)]
pub struct Options {
    /// By default the port of the last run if it is free, otherwise a free port.
    pub port: Option<u16>,
    /// Path of the program. By default found on the search path.
    pub binary: Option<PathBuf>,
    /// Whether clients may connect without user name and password.
    pub anonymous: bool,
    /// As `mosquitto_passwd` writes it. As root, the user `mosquitto` must be able to read it.
    pub password_file: Option<PathBuf>,
    /// Access list of topics. As root, the user `mosquitto` must be able to read it.
    pub acl_file: Option<PathBuf>,
    /// Further lines of its configuration. They apply to its listener, up to another `listener`
    /// line.
    pub more: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: None,
            binary: None,
            anonymous: true,
            password_file: None,
            acl_file: None,
            more: String::new(),
        }
    }
}

/// A running Mosquitto; killed when dropped.
pub struct Mosquitto {
    server: Server<Settings>,
}

impl Mosquitto {
    /// Starts on the data in `directory`; creates the data if there is none.
    pub async fn start(directory: &Path, options: Options) -> Result<Self, Error> {
        let home = Home::claim(NAME, directory, &ACCOUNTS).await?;
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => programs::find("mosquitto", &PACKAGES).await?,
        };
        let wanted = options.port;
        Ok(Self { server: Server::start(Settings { binary, options }, home, wanted).await? })
    }

    /// Returns the URL.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port())
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

    /// Kills it with SIGKILL: changes of sessions and queues since the last autosave are lost.
    pub async fn kill(&mut self) {
        self.server.kill().await;
    }

    /// Restarts it with the same port and data; also starts it after [`stop`](Self::stop) or
    /// [`kill`](Self::kill).
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.server.restart().await
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
    const START_PATIENCE: Duration = Duration::from_secs(30); // It reads its database first.

    fn pid_file(&self, home: &Home) -> PathBuf {
        home.file(PID)
    }

    fn configure(&self, home: &Home, port: u16) -> Result<(PathBuf, Vec<OsString>), Error> {
        let Options { anonymous, password_file, acl_file, more, .. } = &self.options;
        let directory = home.path().display();
        let mut settings = format!(
            "# Written by tributary at every start.\n\
             listener {port} 127.0.0.1\n\
             allow_anonymous {anonymous}\n\
             pid_file {directory}/{PID}\n\
             log_dest stderr\n\
             log_timestamp_format %Y-%m-%dT%H:%M:%SZ\n\
             {SETTINGS}"
        );
        writeln!(settings, "persistence_location {directory}/").ok();
        for (name, file) in [("password_file", password_file), ("acl_file", acl_file)] {
            if let Some(file) = file {
                writeln!(settings, "{name} {}", file.display()).ok();
            }
        }
        settings.push_str(more);
        let file = home.write(CONFIG, &settings)?;
        Ok((self.binary.clone(), vec!["-c".into(), file.into()]))
    }

    async fn answers(&self, port: u16) -> bool {
        let greet = async {
            let mut answer = [0; CONNACK.len()];
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            server.write_all(&CONNECT).await?;
            server.read_exact(&mut answer).await?;
            server.write_all(&DISCONNECT).await?;
            Ok::<_, io::Error>(answer)
        };
        greet.await.is_ok_and(|answer| answer == CONNACK)
    }
}

/// The settings that operators use, too.
const SETTINGS: &str = include_str!("../../deploy/mosquitto/tributary.conf");
