//! The data directory of Postgres ("cluster") and the programs of its version.

use super::error::{Error, Packages};
use super::home::Home;
use super::log::Log;
use super::orphan::{read_pid, serves};
use super::process::{GLANCE, Launch, Process};
use super::programs;
use super::signal::Signal;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The superuser that `initdb` creates.
pub(super) const ADMIN: &str = "postgres";

/// A cluster with this name is complete. `initdb` works under the other name, so that a killed
/// `initdb` leaves no incomplete data directory.
const CLUSTER: &str = "cluster";
const UNFINISHED: &str = "cluster.unfinished";

/// `initdb` writes and syncs 40 MB.
const INITDB_PATIENCE: Duration = Duration::from_mins(2);

/// For the children of a killed `initdb` to end.
const LINGER_PATIENCE: Duration = Duration::from_secs(10);

/// Sorts names by code point, with a Unicode-aware `lower`, the same on every machine. macOS does
/// not have this locale.
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

/// Removes an incomplete cluster. A child of the killed `initdb` may still write for a moment, so a
/// directory may not be empty when it is removed.
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

/// Removes a `postmaster.pid` whose process id was reused. Postgres itself detects a stale file
/// unless the process that now has the id belongs to the same user; then it would refuse to start.
pub(super) fn remove_reused_pid_file(home: &Home) {
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
    /// Finds the programs: the given directory, or the first whose major version has written the
    /// data.
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

    /// Returns the major version: `15` for `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    async fn version(&self) -> Result<Option<String>, Error> {
        let program = self.program("postgres");
        let output = Command::new(&program).arg("--version").output().await;
        let output = output
            .map_err(|source| Error::Spawn { program: program.display().to_string(), source })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().nth(2);
        Ok(version.and_then(|version| version.split(['.', 'r', 'b']).next()).map(str::to_owned))
    }

    /// Whether `TimescaleDB` is installed, which makes hypertables of telemetry tables.
    pub(super) async fn has_timescale(&self) -> bool {
        let libraries = Command::new(self.program("pg_config")).arg("--pkglibdir").output().await;
        let Ok(libraries) = libraries else {
            return false;
        };
        let directory = PathBuf::from(String::from_utf8_lossy(&libraries.stdout).trim());
        ["timescaledb.so", "timescaledb.dylib"].iter().any(|name| directory.join(name).exists())
    }
}
