//! Errors of private servers. Each message names a remedy, because its reader has often just cloned
//! the repository.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{program} is not installed. Run .ci/install.sh, or install it yourself: {packages}")]
    Missing { program: &'static str, packages: &'static Packages },

    #[error(
        "{} is in use by process {holder}. Stop that process, or choose another directory",
        directory.display()
    )]
    InUse { directory: PathBuf, holder: String },

    #[error(
        "{} contains files that Tributary did not write. Choose an empty directory",
        directory.display()
    )]
    Foreign { directory: PathBuf },

    #[error(
        "the user that {program} must run as cannot enter {}, which already holds data. \
         Let other users pass through the directories above it (chmod a+x), or remove it",
        directory.display()
    )]
    OutOfReach { program: &'static str, directory: PathBuf, source: io::Error },

    #[error(
        "running as root, but none of the users {} exists for {program} to run as. \
         Create one (useradd --system {}), or run as an ordinary user",
        names.join(", "), names[0]
    )]
    NoAccount { program: &'static str, names: &'static [&'static str] },

    #[error(
        "{} was written by PostgreSQL {written}, which is not installed. \
         Install that version, or remove the directory to start without data",
        cluster.display()
    )]
    OtherVersion { cluster: PathBuf, written: String },

    #[error("port {port} on 127.0.0.1 is taken. Free it, or let a free port be chosen")]
    PortTaken { port: u16 },

    #[error("no free port found on 127.0.0.1")]
    NoPort { source: io::Error },

    #[error("cannot {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },

    #[error("cannot run {program}")]
    Spawn { program: String, source: io::Error },

    #[error("{program} ended ({status}) before it was ready. {log}")]
    Ended { program: &'static str, status: ExitStatus, log: Excerpt },

    #[error("{program} was not ready within {} s. {log}", patience.as_secs())]
    Slow { program: &'static str, patience: Duration, log: Excerpt },

    #[error("cannot create the database {name}")]
    Database { name: String, source: sqlx::Error },
}

impl Error {
    /// Creates an error for `map_err` from an action and its path.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}

/// The package of a program, by operating system.
#[derive(Debug)]
pub struct Packages {
    pub debian: &'static str,
    /// Fedora does not package every program.
    pub fedora: Option<&'static str>,
    pub alpine: &'static str,
    pub macos: &'static str,
    pub elsewhere: &'static str,
}

impl fmt::Display for Packages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "apt install {} (Debian, Ubuntu), ", self.debian)?;
        if let Some(package) = self.fedora {
            write!(out, "dnf install {package} (Fedora), ")?;
        }
        write!(out, "apk add {} (Alpine), ", self.alpine)?;
        write!(out, "brew install {} (macOS), ", self.macos)?;
        write!(out, "elsewhere {}", self.elsewhere)
    }
}

/// The last lines of a server's log, quoted in an error.
#[derive(Debug)]
pub struct Excerpt {
    pub path: PathBuf,
    pub lines: String,
}

impl fmt::Display for Excerpt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lines.trim_end() {
            "" => write!(out, "{} is empty", self.path.display()),
            lines => write!(out, "The end of {}:\n{lines}", self.path.display()),
        }
    }
}
