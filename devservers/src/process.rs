//! Child processes that cannot outlive us.
//!
//! The kernel sends a child the signal asked for with `PR_SET_PDEATHSIG` when the *thread* that
//! forked it ends, be it by our `kill -9`. So every child is forked by one thread that ends with
//! the process, never by a worker of some runtime. `setpriv` makes the call after our change of
//! user, which would clear it, and then becomes the server, so that its process id is the server's.
//! Where there is no such `setpriv` (macOS, busybox) the next start ends what was left behind.

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

/// How often a child or a server is looked at while we wait for it.
pub(super) const GLANCE: Duration = Duration::from_millis(10);
/// For the end of a process that was sent SIGKILL, which only the disk can delay.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// For a process to end by the signal that its `Drop` sends; blocking, so short.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// No signal comes to a child whose parent died before it asked for one, so it then looks whether
/// the parent is still the one that forked it.
const UNLESS_ORPHANED: &str = "[ \"$PPID\" = \"$0\" ] && exec \"$@\"";

/// A command and the circumstances it runs in.
pub(super) struct Launch<'a> {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub account: Option<Account>,
    /// What the kernel sends the child when we die, and what `Drop` sends.
    pub crash: Signal,
    /// Both output streams are appended here.
    pub log: &'a File,
}

/// A child of ours; ended when dropped.
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
            // The user's PGPORT or LC_ALL must not steer a private server, nor our secrets reach it.
            .env_clear()
            .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")])
            // Wherever we are, the server's user may not be allowed to be.
            .current_dir("/")
            // Out of reach of the terminal's Ctrl-C: we stop first, then we stop the servers.
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

    /// Sends the signal; kills what has not ended within `patience`.
    pub(super) async fn end(&mut self, signal: Signal, patience: Duration) {
        if self.ended().is_some() {
            return;
        }
        signal.send(self.id());
        if self.wait(patience).await.is_none() {
            tracing::warn!(pid = self.id(), "a server did not stop when asked: killing it");
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
        // It has ended by now, or it is stopped in its tracks and only SIGKILL reaches it.
        if self.ended().is_none() && self.child.kill().is_ok() && self.child.wait().is_err() {
            tracing::warn!(pid = self.id(), "cannot wait for a killed server");
        }
    }
}

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// The thread that forks, for as long as the process lives: the sender is never dropped.
static SPAWNER: LazyLock<mpsc::SyncSender<Request>> = LazyLock::new(|| {
    let (requests, queue) = mpsc::sync_channel::<Request>(16);
    std::thread::spawn(move || {
        for (mut command, reply) in queue {
            // Nobody else could end the child of a caller that has gone away.
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

/// The `setpriv` of util-linux that knows parent-death signals, looked for once.
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
