//! Start, stop, kill and restart of a private server, common to all three.

use super::error::Error;
use super::home::Home;
use super::log::Log;
use super::orphan;
use super::process::{GLANCE, Launch, Process};
use super::signal::Signal;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Attempts to start. A server that ends at once may have lost its port to another program between
/// the check and its bind, or its predecessor may still be ending.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(300);
/// Timeout of one readiness probe.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// For a shutdown: Postgres writes a checkpoint, Mosquitto its database.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The differences between the servers.
pub(super) trait Program: Send + Sync {
    const NAME: &'static str;
    /// Requests a shutdown.
    const STOP: Signal;
    /// Crashes the server, for tests and when this process dies.
    const CRASH: Signal;
    /// Longest time from the start to readiness, including recovery after a crash.
    const START_PATIENCE: Duration;

    /// The file that the server writes its process id to.
    fn pid_file(&self, home: &Home) -> PathBuf;

    /// Writes the configuration. Returns the program and its arguments, which name a file in `home`
    /// so that the process can be identified.
    fn configure(&self, home: &Home, port: u16) -> Result<(PathBuf, Vec<OsString>), Error>;

    /// Whether the server accepts clients.
    fn answers(&self, port: u16) -> impl Future<Output = bool> + Send;
}

pub(super) struct Server<P> {
    program: P,
    port: u16,
    // Dropped before `home`, so that the directory stays locked until the server has ended.
    process: Process,
    home: Home,
}

impl<P: Program> Server<P> {
    pub(super) async fn start(program: P, home: Home, wanted: Option<u16>) -> Result<Self, Error> {
        let pid_file = program.pid_file(&home);
        orphan::end(&pid_file, home.path(), P::STOP, STOP_PATIENCE).await;
        let mut tries = 1;
        loop {
            let port = home.port(wanted, tries == 1)?;
            match launch(&program, &home, port).await {
                Ok(process) => {
                    home.remember_port(port)?;
                    return Ok(Self { program, port, process, home });
                }
                Err(Error::Ended { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) fn program(&self) -> &P {
        &self.program
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) async fn stop(&mut self) {
        self.process.end(P::STOP, STOP_PATIENCE).await;
    }

    pub(super) async fn kill(&mut self) {
        self.process.end(P::CRASH, STOP_PATIENCE).await;
    }

    /// Stops it if it runs, and starts it with the same port and data.
    pub(super) async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await;
        let mut tries = 1;
        self.process = loop {
            match launch(&self.program, &self.home, self.port).await {
                Err(Error::Ended { .. }) if tries < TRIES => tries += 1,
                outcome => break outcome?,
            }
            tokio::time::sleep(PAUSE).await;
        };
        Ok(())
    }
}

/// Starts the process and waits until it accepts clients.
async fn launch<P: Program>(program: &P, home: &Home, port: u16) -> Result<Process, Error> {
    let started = Instant::now();
    let (path, arguments) = program.configure(home, port)?;
    let log = Log::open(home)?;
    let launch = Launch {
        program: path,
        arguments,
        account: home.account(),
        crash: P::CRASH,
        log: &log.file,
    };
    let mut process = Process::launch(launch).await?;
    loop {
        let answer = tokio::time::timeout(PROBE_PATIENCE, program.answers(port)).await;
        // Checked after the probe: another program may have answered on the port.
        if let Some(status) = process.ended() {
            return Err(Error::Ended { program: P::NAME, status, log: log.excerpt() });
        }
        if answer == Ok(true) {
            break;
        }
        if started.elapsed() > P::START_PATIENCE {
            let patience = P::START_PATIENCE;
            return Err(Error::Slow { program: P::NAME, patience, log: log.excerpt() });
        }
        tokio::time::sleep(GLANCE).await;
    }
    tracing::info!(pid = process.id(), port, took = ?started.elapsed(), "{} is ready", P::NAME);
    Ok(process)
}
