//! Real servers, started for one test and gone with it: Postgres and Mosquitto on free ports.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";
/// Servers die with the test that started them, also when it is killed.
const SETPRIV: [&str; 2] = ["--pdeathsig", "KILL"];

/// A directory of one test, removed at its end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("tributary-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// A process that says on stderr when it is ready.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, ready: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        loop {
            let line =
                lines.next().unwrap_or_else(|| panic!("{command:?} ended: {said:#?}")).unwrap();
            if line.contains(ready) {
                break;
            }
            said.push(line);
        }
        // Somebody has to listen, or it blocks when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }

    fn stop(&mut self, signal: &str) {
        if self.0.try_wait().unwrap().is_none() {
            run(Command::new("kill").arg(signal).arg(self.0.id().to_string()));
            self.0.wait().unwrap();
        }
    }
}

pub struct Postgres {
    directory: Directory,
    server: Server,
    port: u16,
}

impl Postgres {
    pub fn start() -> Self {
        let directory = Directory::new();
        let data = directory.path().join("data");
        let [uid, gid] = ["-u", "-g"].map(|what| {
            let id = Command::new("id").args([what, "postgres"]).output().unwrap();
            String::from_utf8(id.stdout).unwrap().trim().parse().unwrap()
        });
        chown(directory.path(), Some(uid), Some(gid)).unwrap();
        run(Self::command("initdb")
            .args(["--auth", "trust", "--username", "postgres", "--no-sync", "-D"])
            .arg(&data));
        let port = free_port();
        let server = Self::launch(&directory, port);
        Self { directory, server, port }
    }

    fn command(program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(SETPRIV)
            .args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"])
            .arg(format!("{POSTGRES}/{program}"))
            .current_dir("/")
            .env("LC_ALL", "C");
        command
    }

    fn launch(directory: &Directory, port: u16) -> Server {
        let mut command = Self::command("postgres");
        command.arg("-D").arg(directory.path().join("data"));
        command.args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-F"]);
        Server::start(&mut command, "ready to accept connections")
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// At once, as in a crash.
    pub fn stop(&mut self) {
        self.server.stop("-QUIT");
    }

    pub fn start_again(&mut self) {
        self.server = Self::launch(&self.directory, self.port);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

pub struct Mosquitto {
    directory: Directory,
    server: Server,
    pub port: u16,
}

impl Mosquitto {
    pub fn start() -> Self {
        Self::start_with(Directory::new(), "allow_anonymous true")
    }

    /// `settings` follow the listener in its configuration; files they name are in `directory`.
    pub fn start_with(directory: Directory, settings: &str) -> Self {
        let port = free_port();
        let at = directory.path().display();
        // Without the last two it drops what a client does not take fast enough, and PUBACKs it.
        let configuration = format!(
            "user root\nlistener {port} 127.0.0.1\n{settings}\npersistence true\n\
             persistence_location {at}/\nmax_inflight_messages 0\nmax_queued_messages 0\n"
        );
        directory.write("mosquitto.conf", &configuration);
        let server = Self::launch(&directory);
        Self { directory, server, port }
    }

    fn launch(directory: &Directory) -> Server {
        let mut command = Command::new("setpriv");
        command.args(SETPRIV).args(["/usr/sbin/mosquitto", "-v", "-c"]);
        command.arg(directory.path().join("mosquitto.conf"));
        Server::start(&mut command, "running")
    }

    /// Saves its sessions and their queues.
    pub fn stop(&mut self) {
        self.server.stop("-TERM");
    }

    pub fn start_again(&mut self) {
        self.server = Self::launch(&self.directory);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}
