//! Real servers for these tests, private to the process: on free ports of the loopback, in a
//! directory of their own, gone when the test or the process is, however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{sleep, timeout};

const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// A child that is killed with its owner. The kernel kills it when the *thread* that made it ends,
/// so it is made on a thread that lives as long as the owner, or the process.
struct Process {
    child: Child,
    _keep: mpsc::Sender<()>,
}

impl Process {
    fn start(user: Option<&str>, program: &Path, arguments: &[String], log: &Path) -> Self {
        let mut command = Command::new("setpriv");
        if let Some(user) = user {
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        let log = std::fs::File::create(log).unwrap();
        command
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let (made, child) = mpsc::channel();
        let (keep, kept) = mpsc::channel();
        std::thread::spawn(move || {
            made.send(command.spawn()).unwrap();
            kept.recv().ok();
        });
        let child = child.recv().unwrap().unwrap();
        Self { child, _keep: keep }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A directory that goes when this process does: a shell waits for the end of its input.
fn directory(name: &str, user: Option<&str>) -> PathBuf {
    let unique = uuid::Uuid::now_v7().simple();
    let path = std::env::temp_dir().join(format!("tributary-{name}-{unique}"));
    std::fs::create_dir(&path).unwrap();
    if let Some(user) = user {
        let owner = Command::new("chown").arg(user).arg(&path).status();
        assert!(owner.unwrap().success());
    }
    let janitor = Command::new("sh")
        .args(["-c", r#"cat >/dev/null; sleep 1; rm -rf "$0""#])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::mem::forget(janitor); // Its input closes with the process.
    path
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

pub(crate) struct Postgres {
    directory: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        let user = Self::user();
        let directory = directory("postgres", user);
        let arguments = ["-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C", "-A", "trust"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.push(directory.join("data").display().to_string());
        let initdb = Path::new(POSTGRES_BIN).join("initdb");
        let mut process = Process::start(user, &initdb, &arguments, &directory.join("initdb.log"));
        assert!(process.child.wait().unwrap().success());
        let mut postgres = Self { directory, port: free_port(), process: None };
        postgres.resume().await;
        postgres
    }

    /// Postgres refuses to run as root.
    fn user() -> Option<&'static str> {
        let id = Command::new("id").arg("-u").output().unwrap();
        (id.stdout == b"0\n").then_some("postgres")
    }

    /// Starts it again, with the data it had.
    pub(crate) async fn resume(&mut self) {
        let data = self.directory.join("data").display().to_string();
        let sockets = self.directory.display();
        let arguments = [
            format!("-D{data}"),
            format!("-p{}", self.port),
            format!("-k{sockets}"),
            "-h127.0.0.1".to_owned(),
            "-cfsync=off".to_owned(), // The machine does not crash.
            "-cmax_connections=400".to_owned(),
        ];
        let postgres = Path::new(POSTGRES_BIN).join("postgres");
        let log = self.directory.join("postgres.log");
        let start = || Process::start(Self::user(), &postgres, &arguments, &log);
        self.process = Some(start());
        let ready = async {
            while self.connect("postgres").await.is_err() {
                // After a kill, backends of the one before may hold its memory a moment longer.
                if self.process.as_mut().is_some_and(Process::has_ended) {
                    self.process = Some(start());
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), ready).await.unwrap();
    }

    /// As `kill -9` does it: no goodbye.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username("postgres")
            .database(database)
            .disable_statement_logging()
    }

    pub(crate) async fn connect(&self, database: &str) -> sqlx::Result<PgConnection> {
        PgConnection::connect_with(&self.options(database)).await
    }
}

pub(crate) struct Nats {
    directory: PathBuf,
    port: u16,
    stores: u32,
    process: Option<Process>,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let mut nats = Self {
            directory: directory("nats", None),
            port: free_port(),
            stores: 0,
            process: None,
        };
        nats.resume().await;
        nats
    }

    /// Starts it again, with the store it had.
    pub(crate) async fn resume(&mut self) {
        let store = self.directory.join(self.stores.to_string());
        let arguments = format!("-js -a 127.0.0.1 -p {} -sd {}", self.port, store.display());
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        // Another version can be named.
        let binary = std::env::var_os("NATS_SERVER").unwrap_or("nats-server".into());
        let log = self.directory.join("nats.log");
        self.process = Some(Process::start(None, Path::new(&binary), &arguments, &log));
        let ready = async {
            while async_nats::connect(self.url()).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), ready).await.unwrap();
    }

    /// Starts it again with nothing: the disk was lost.
    pub(crate) async fn resume_empty(&mut self) {
        self.stores += 1;
        self.resume().await;
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}
