//! Child processes that end with this process.
//!
//! The kernel sends a child the signal set with `PR_SET_PDEATHSIG` when the *thread* that forked it
//! ends, also by `kill -9`. Therefore one thread that lives as long as the process forks every
//! child, never a worker of a runtime. `setpriv` sets the signal after the change of user, which
//! would clear it, and then executes the server, so that its process id is the server's. Without
//! such a `setpriv` (macOS, busybox), the next start ends servers that are still running.

use super::account::Account;
use super::error::Error;
use super::programs;
use super::signal::Signal;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, oneshot};

/// Interval at which a child or a server is polled.
pub(super) const GLANCE: Duration = Duration::from_millis(10);
/// For a process to end after SIGKILL, which only the disk can delay.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// For a process to end after the signal that `Drop` sends. `Drop` blocks, so it is short.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// A child whose parent died before the signal was set gets none, so the child checks that its
/// parent is still the process that forked it.
const UNLESS_ORPHANED: &str = "[ \"$PPID\" = \"$0\" ] && exec \"$@\"";

/// A command with its account, its log and its crash signal.
pub(super) struct Launch<'a> {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub account: Option<Account>,
    /// The signal that the kernel sends when this process dies, and that `Drop` sends.
    pub crash: Signal,
    /// Both output streams are appended here.
    pub log: &'a File,
}

/// A child process; ended when dropped.
pub(super) struct Process {
    child: Child,
    crash: Signal,
}

impl Process {
    pub(super) async fn launch(launch: Launch<'_>) -> Result<Self, Error> {
        let Launch { program, arguments, account, crash, log } = launch;
        let spawn_error = |source| Error::Spawn { program: program.display().to_string(), source };

        let mut command = if let Some(setpriv) = setpriv().await {
            let mut command = Command::new(setpriv);
            let us = std::process::id().to_string();
            command.args(["--pdeathsig", crash.name(), "--", "sh", "-c", UNLESS_ORPHANED, &us]);
            command.arg(&program);
            command
        } else {
            Command::new(&program)
        };
        command
            .args(arguments)
            // Neither the user's PGPORT or LC_ALL nor secrets may reach a private server.
            .env_clear()
            .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")])
            // The server's user may not be able to enter the working directory.
            .current_dir("/")
            // Ctrl-C in the terminal does not reach the servers: this process stops first, then
            // they.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(spawn_error)?)
            .stderr(log.try_clone().map_err(spawn_error)?);
        if let Some(Account { uid, gid }) = account {
            command.uid(uid).gid(gid);
        }
        let child = spawn(command).await.map_err(spawn_error)?;
        Ok(Self { child, crash })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(super) async fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.ended() {
                None if Instant::now() < deadline => tokio::time::sleep(GLANCE).await,
                status => return status,
            }
        }
    }

    /// Sends the signal; sends SIGKILL if the process has not ended within `patience`.
    pub(super) async fn end(&mut self, signal: Signal, patience: Duration) {
        if self.ended().is_some() {
            return;
        }
        signal.send(self.id());
        if self.wait(patience).await.is_none() {
            tracing::warn!(pid = self.id(), "server did not stop in time, killing it");
            Signal::Kill.send(self.id());
            self.wait(KILL_PATIENCE).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.crash.send(self.id());
        let deadline = Instant::now() + DROP_PATIENCE;
        while self.ended().is_none() && Instant::now() < deadline {
            #[expect(
                clippy::disallowed_methods,
                reason = "Drop cannot await; milliseconds as a rule"
            )]
            std::thread::sleep(GLANCE);
        }
        // It has ended by now, or it is stopped, and only SIGKILL ends it.
        if self.ended().is_none() && self.child.kill().is_ok() && self.child.wait().is_err() {
            tracing::warn!(pid = self.id(), "cannot wait for killed server");
        }
    }
}

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// The thread that forks. It lives as long as the process, because the sender is never dropped.
static SPAWNER: LazyLock<mpsc::SyncSender<Request>> = LazyLock::new(|| {
    let (requests, queue) = mpsc::sync_channel::<Request>(16);
    std::thread::spawn(move || {
        for (mut command, reply) in queue {
            // The caller was cancelled, so nothing else would end the child.
            if let Err(Ok(mut child)) = reply.send(command.spawn()) {
                child.kill().and_then(|()| child.wait()).ok();
            }
        }
    });
    requests
});

async fn spawn(command: Command) -> io::Result<Child> {
    let (reply, child) = oneshot::channel();
    SPAWNER.send((command, reply)).map_err(io::Error::other)?;
    child.await.map_err(io::Error::other)?
}

/// Finds a `setpriv` that supports parent-death signals, that of util-linux. The result is cached.
async fn setpriv() -> Option<&'static PathBuf> {
    static SETPRIV: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    let look = async || {
        let setpriv = programs::on_path("setpriv").await?;
        let mut trial = tokio::process::Command::new(&setpriv);
        trial.args(["--pdeathsig", "KILL", "--", "true"]).stderr(Stdio::null());
        trial.status().await.is_ok_and(|status| status.success()).then_some(setpriv)
    };
    SETPRIV.get_or_init(look).await.as_ref()
}
