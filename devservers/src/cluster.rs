//! The data directory of Postgres ("cluster") and the programs that fit it.

use super::error::{Error, Packages};
use super::home::Home;
use super::log::Log;
use super::orphan::{read_pid, serves};
use super::postgres::ADMIN;
use super::process::{GLANCE, Launch, Process};
use super::programs;
use super::signal::Signal;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// A cluster under this name is complete; one that `initdb` still works on has the other name, so
/// that being killed in the middle leaves nothing that looks like data.
const CLUSTER: &str = "cluster";
const UNFINISHED: &str = "cluster.unfinished";

/// `initdb` writes 40 MB and has it synced; seconds even on a slow disk.
const INITDB_PATIENCE: Duration = Duration::from_mins(2);

/// For what a killed `initdb` left running.
const LINGER_PATIENCE: Duration = Duration::from_secs(10);

/// Names sort by code point and `lower` knows Unicode, the same on every machine. macOS has no such
/// locale.
const LOCALE: &str = if cfg!(target_os = "macos") { "C" } else { "C.UTF-8" };

const PACKAGES: Packages = Packages {
    debian: "postgresql",
    fedora: Some("postgresql-server"),
    alpine: "postgresql",
    macos: "postgresql",
    elsewhere: "https://www.postgresql.org/download",
};

pub(super) fn path(home: &Home) -> PathBuf {
    home.file(CLUSTER)
}

/// Creates the cluster unless there is one.
pub(super) async fn ensure(home: &Home, binaries: &Binaries, durable: bool) -> Result<(), Error> {
    let (cluster, unfinished) = (path(home), home.file(UNFINISHED));
    if cluster.exists() {
        return Ok(());
    }
    remove(&unfinished).await?;
    let started = Instant::now();
    let log = Log::open(home)?;
    let mut arguments: Vec<OsString> = vec!["-D".into(), unfinished.clone().into()];
    arguments.extend(["-U", ADMIN, "--auth=trust", "--encoding=UTF8"].map(OsString::from));
    arguments.push(format!("--locale={LOCALE}").into());
    if !durable {
        arguments.push("--no-sync".into());
    }
    let program = binaries.program("initdb");
    let account = home.account();
    let launch = Launch { program, arguments, account, crash: Signal::Kill, log: &log.file };
    let program = "initdb";
    match Process::launch(launch).await?.wait(INITDB_PATIENCE).await {
        Some(status) if status.success() => {}
        Some(status) => {
            return Err(Error::Ended { program, status, log: log.excerpt() });
        }
        None => {
            let log = log.excerpt();
            return Err(Error::Slow { program, patience: INITDB_PATIENCE, log });
        }
    }
    fs::rename(&unfinished, &cluster).map_err(Error::file("put in place", &unfinished))?;
    tracing::info!(took = ?started.elapsed(), "created {}", cluster.display());
    Ok(())
}

/// A child of the `initdb` that was killed may write on for a moment, and make a directory not empty
/// again while we empty it.
async fn remove(unfinished: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + LINGER_PATIENCE;
    loop {
        match fs::remove_dir_all(unfinished) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(Error::file("remove", unfinished)(error));
            }
            Err(_) => tokio::time::sleep(GLANCE).await,
        }
    }
}

/// Postgres sees for itself that a `postmaster.pid` is stale, unless a process of the same user has
/// the number by now: then it refuses to start, for as long as that one lives.
pub(super) fn forget_recycled_pid(home: &Home) {
    let file = path(home).join("postmaster.pid");
    if let Some(pid) = read_pid(&file)
        && !serves(pid, home.path())
        && let Err(error) = fs::remove_file(&file)
    {
        tracing::warn!(%error, "cannot remove {}", file.display());
    }
}

/// The directory of the Postgres programs.
pub(super) struct Binaries(PathBuf);

impl Binaries {
    /// The given directory; else one that fits the data, which only its own major version can read.
    pub(super) async fn find(given: Option<&Path>, home: &Home) -> Result<Self, Error> {
        let cluster = path(home);
        let written = fs::read_to_string(cluster.join("PG_VERSION")).ok();
        let candidates = match given {
            Some(directory) => vec![directory.to_owned()],
            None => programs::postgres_directories().await,
        };
        if candidates.is_empty() {
            return Err(Error::Missing { program: "Postgres", packages: &PACKAGES });
        }
        let written = written.as_deref().map(str::trim);
        for directory in candidates {
            let binaries = Self(directory);
            if match written {
                Some(written) => binaries.version().await?.as_deref() == Some(written),
                None => true,
            } {
                return Ok(binaries);
            }
        }
        Err(Error::OtherVersion { cluster, written: written.unwrap_or_default().to_owned() })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// `15`, out of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    async fn version(&self) -> Result<Option<String>, Error> {
        let program = self.program("postgres");
        let output = Command::new(&program).arg("--version").output().await;
        let output = output
            .map_err(|source| Error::Spawn { program: program.display().to_string(), source })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().nth(2);
        Ok(version.and_then(|version| version.split(['.', 'r', 'b']).next()).map(str::to_owned))
    }

    /// Telemetry tables become hypertables where the extension is installed.
    pub(super) async fn have_timescale(&self) -> bool {
        let libraries = Command::new(self.program("pg_config")).arg("--pkglibdir").output().await;
        let Ok(libraries) = libraries else {
            return false;
        };
        let directory = PathBuf::from(String::from_utf8_lossy(&libraries.stdout).trim());
        ["timescaledb.so", "timescaledb.dylib"].iter().any(|name| directory.join(name).exists())
    }
}
