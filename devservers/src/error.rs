//! Errors of private servers. Each message names a remedy, because its reader has often just cloned
//! the repository.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why a private server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not installed.
    #[error("{program} is not installed. Run .ci/install.sh, or install it yourself: {packages}")]
    Missing {
        /// Name of the program.
        program: &'static str,
        /// Packages that contain the program.
        packages: &'static Packages,
    },

    /// Another process uses the directory.
    #[error(
        "{} is in use by process {holder}. Stop that process, or choose another directory",
        directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// Process id of the other process.
        holder: String,
    },

    /// The directory holds files of others.
    #[error(
        "{} contains files that Tributary did not write. Choose an empty directory",
        directory.display()
    )]
    Foreign {
        /// The directory.
        directory: PathBuf,
    },

    /// The account of the server may not enter the directory.
    #[error(
        "the user that {program} must run as cannot enter {}, which already holds data. \
         Let other users pass through the directories above it (chmod a+x), or remove it",
        directory.display()
    )]
    OutOfReach {
        /// Name of the program.
        program: &'static str,
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// No account exists that the server may run as.
    #[error(
        "running as root, but none of the users {} exists for {program} to run as. \
         Create one (useradd --system {}), or run as an ordinary user",
        names.join(", "), names[0]
    )]
    NoAccount {
        /// Name of the program.
        program: &'static str,
        /// Names of the accounts tried.
        names: &'static [&'static str],
    },

    /// The data directory belongs to another version of Postgres.
    #[error(
        "{} was written by PostgreSQL {written}, which is not installed. \
         Install that version, or remove the directory to start without data",
        cluster.display()
    )]
    OtherVersion {
        /// The data directory.
        cluster: PathBuf,
        /// Version that wrote the data directory.
        written: String,
    },

    /// The chosen port is in use.
    #[error("port {port} on 127.0.0.1 is taken. Free it, or let a free port be chosen")]
    PortTaken {
        /// The TCP port.
        port: u16,
    },

    /// The system offers no free port.
    #[error("no free port found on 127.0.0.1")]
    NoPort {
        /// The cause.
        source: io::Error,
    },

    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done, as a verb.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// The program cannot be started.
    #[error("cannot run {program}")]
    Spawn {
        /// Name of the program.
        program: String,
        /// The cause.
        source: io::Error,
    },

    /// The server ended before it was ready.
    #[error("{program} ended ({status}) before it was ready. {log}")]
    Ended {
        /// Name of the program.
        program: &'static str,
        /// Exit status of the server.
        status: ExitStatus,
        /// End of the server's log.
        log: Excerpt,
    },

    /// The server was not ready in time.
    #[error("{program} was not ready within {} s. {log}", patience.as_secs())]
    Slow {
        /// Name of the program.
        program: &'static str,
        /// How long the start may take.
        patience: Duration,
        /// End of the server's log.
        log: Excerpt,
    },

    /// The database cannot be created.
    #[error("cannot create the database {name}")]
    Database {
        /// Name of the database.
        name: String,
        /// The cause.
        source: sqlx::Error,
    },
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
    /// Package of Debian and Ubuntu.
    pub debian: &'static str,
    /// Package of Fedora, which does not package every program.
    pub fedora: Option<&'static str>,
    /// Package of Alpine Linux.
    pub alpine: &'static str,
    /// Formula of Homebrew.
    pub macos: &'static str,
    /// Where to find the program on other systems.
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
    /// Path of the log.
    pub path: PathBuf,
    /// The last lines.
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
