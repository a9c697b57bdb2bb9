//! The directory of one server: locked by one process at a time, and accessible to the user that
//! the server runs as.

use super::account::Account;
use super::error::Error;
use super::process::GLANCE;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Marks a directory as one of Tributary's, and is locked while a server uses it. The kernel
/// releases the lock when the process ends, in any way.
const LOCK: &str = "tributary.lock";

/// A child forked by a process that is killed holds the lock until it executes its program.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// The directory for data if the server's user cannot enter the requested directory, such as a
/// checkout in the home directory of root.
const REFUGE: &str = "/var/lib/tributary";

/// Ports below the ephemeral range. While a server with an ephemeral port is down, a client that
/// reconnects may get that port as its local port, connect to itself, and keep the port.
const PORTS: Range<u16> = 15_000..32_000;
const PORT_TRIES: usize = 200;

pub(super) struct Home {
    path: PathBuf,
    account: Option<Account>,
    _lock: File,
}

impl Home {
    /// Locks the directory for `program`, and creates it if it does not exist. As root, the server
    /// runs as the first of `accounts` that exists; if none is given, as this process.
    pub(super) async fn claim(
        program: &'static str,
        directory: &Path,
        accounts: &'static [&'static str],
    ) -> Result<Self, Error> {
        // A link of an earlier run may point to a refuge that was removed.
        let target = fs::read_link(directory).unwrap_or_else(|_| directory.to_owned());
        fs::create_dir_all(&target).map_err(Error::file("create", &target))?;
        let mut path = directory.canonicalize().map_err(Error::file("find", directory))?;

        let account = if accounts.is_empty() {
            None
        } else {
            Account::choose(program, &path, accounts).await?
        };
        if let Some(account) = account
            && !account.can_enter(path.parent().unwrap_or(&path)).await?
        {
            path = take_refuge(program, &path)?;
        }
        let lock = lock(&path).await?;
        if let Some(account) = account {
            account.own(&path)?;
        }
        Ok(Self { path, account, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn account(&self) -> Option<Account> {
        self.account
    }

    pub(super) fn write(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.file(name);
        fs::write(&path, content).map_err(Error::file("write", &path))?;
        // The server's user must be able to read it, whatever the umask.
        let readable = Permissions::from_mode(0o644);
        fs::set_permissions(&path, readable).map_err(Error::file("make readable", &path))?;
        Ok(path)
    }

    /// Writes a file with mode 0600, for a server that runs as this user.
    pub(super) fn write_private(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.file(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = options.open(&path).map_err(Error::file("open", &path))?;
        // A file of an earlier build may have another mode.
        file.set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| file.write_all(content.as_bytes()))
            .map_err(Error::file("write", &path))?;
        Ok(path)
    }

    /// Writes a file with mode 0600 for the server's user.
    pub(super) fn write_key(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.write_private(name, content)?;
        self.account.map_or(Ok(()), |account| account.own(&path))?;
        Ok(path)
    }

    /// Returns the secret in the file `name`; creates a random one at the first call.
    pub(super) fn secret(&self, name: &str) -> Result<String, Error> {
        match fs::read_to_string(self.file(name)) {
            Ok(secret) if !secret.is_empty() => Ok(secret),
            _missing => {
                let secret = format!("{:032x}", rand::random::<u128>());
                self.write_private(name, &secret)?;
                Ok(secret)
            }
        }
    }

    /// Returns the requested port. Otherwise the port of the last run, so that addresses stay valid
    /// between runs; if that is taken, or on a second attempt, a random free port.
    pub(super) fn port(&self, wanted: Option<u16>, first_try: bool) -> Result<u16, Error> {
        if let Some(port) = wanted {
            return if is_free(port) { Ok(port) } else { Err(Error::PortTaken { port }) };
        }
        let last = fs::read_to_string(self.file("port")).ok();
        let last = last.and_then(|port| port.trim().parse().ok()).filter(|_| first_try);
        match last {
            Some(port) if is_free(port) => Ok(port),
            _ => random_port(),
        }
    }

    pub(super) fn remember_port(&self, port: u16) -> Result<(), Error> {
        self.write("port", &port.to_string()).map(drop)
    }
}

/// Returns a free port of `PORTS`; if none is found, any free port.
pub(super) fn random_port() -> Result<u16, Error> {
    let mut random = std::iter::repeat_with(|| rand::random_range(PORTS)).take(PORT_TRIES);
    if let Some(port) = random.find(|&port| is_free(port)) {
        return Ok(port);
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    any.map(|address| address.port()).map_err(|source| Error::NoPort { source })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Creates a directory that every user can enter, and replaces `path` by a link to it.
fn take_refuge(program: &'static str, path: &Path) -> Result<PathBuf, Error> {
    // Fails if the directory contains data.
    fs::remove_dir(path).map_err(|source| Error::OutOfReach {
        program,
        directory: path.to_owned(),
        source,
    })?;
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let refuge = Path::new(REFUGE).join(hex::encode(&digest[..6]));
    fs::create_dir_all(&refuge).map_err(Error::file("create", &refuge))?;
    for directory in [Path::new(REFUGE), &refuge] {
        fs::set_permissions(directory, Permissions::from_mode(0o755))
            .map_err(Error::file("open to other users", directory))?;
    }
    symlink(&refuge, path).map_err(Error::file("link", path))?;
    tracing::warn!(
        "{program} cannot run as root and its user cannot enter {}, so the data is in {}",
        path.display(),
        refuge.display()
    );
    Ok(refuge)
}

async fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK);
    let mut entries = directory.read_dir().map_err(Error::file("list", directory))?;
    if !path.exists() && entries.next().is_some() {
        return Err(Error::Foreign { directory: directory.to_owned() });
    }
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let mut file = options.open(&path).map_err(Error::file("open", &path))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(GLANCE).await,
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                return Err(Error::InUse {
                    directory: directory.to_owned(),
                    holder: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(Error::file("lock", &path)(source)),
        }
    }
    let holder = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(holder.as_bytes()))
        .map_err(Error::file("write", &path))?;
    Ok(file)
}
