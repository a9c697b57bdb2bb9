//! The directory of one server: claimed by one process at a time, and within reach of the user the
//! server runs as.

use super::account::Account;
use super::error::Error;
use super::process::GLANCE;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Marks a directory as ours, and is locked while a server of ours uses it. The kernel lets go of
/// the lock however we end.
const LOCK: &str = "tributary.lock";

/// A child that its parent forked as it was killed holds the lock until it executes its program.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Where the data goes when the server's user cannot reach the directory asked for: root's home is
/// closed to everyone else, and that is where a container checks projects out.
const REFUGE: &str = "/var/lib/tributary";

/// Ports that no system hands out by itself. On an ephemeral one, a client that reconnects while the
/// server is down can be given the server's port as its own, connect to itself, and keep it.
const PORTS: Range<u16> = 15_000..32_000;
const PORT_TRIES: usize = 200;

pub(super) struct Home {
    path: PathBuf,
    account: Option<Account>,
    _lock: File,
}

impl Home {
    /// Takes the directory for `program`, creating it if need be. As root the server is to run as
    /// the first of `accounts` that exists; with none named, as we do.
    pub(super) async fn claim(
        program: &'static str,
        directory: &Path,
        accounts: &'static [&'static str],
    ) -> Result<Self, Error> {
        // A link that we left may point to a refuge that was cleared since.
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
        // Whatever our umask, the server's user must be able to read it.
        let readable = Permissions::from_mode(0o644);
        fs::set_permissions(&path, readable).map_err(Error::file("make readable", &path))?;
        Ok(path)
    }

    /// The port asked for; else the one of the last run, so that addresses stay valid between runs,
    /// unless it is taken or, at a second try, in doubt; else any free one.
    pub(super) fn port(&self, wanted: Option<u16>, first_try: bool) -> Result<u16, Error> {
        if let Some(port) = wanted {
            return if is_free(port) { Ok(port) } else { Err(Error::PortTaken { port }) };
        }
        let last = fs::read_to_string(self.file("port")).ok();
        let last = last.and_then(|port| port.trim().parse().ok()).filter(|_| first_try);
        let random = std::iter::repeat_with(|| rand::random_range(PORTS)).take(PORT_TRIES);
        if let Some(port) = last.into_iter().chain(random).find(|&port| is_free(port)) {
            return Ok(port);
        }
        let any =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        any.map(|address| address.port()).map_err(|source| Error::NoPort { source })
    }

    pub(super) fn remember_port(&self, port: u16) -> Result<(), Error> {
        self.write("port", &port.to_string()).map(drop)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Moves to a directory that every user can reach, and leaves a link to it.
fn take_refuge(program: &'static str, path: &Path) -> Result<PathBuf, Error> {
    // Only an empty directory is given up: it fails if data is in it.
    fs::remove_dir(path).map_err(|source| Error::OutOfReach {
        program,
        directory: path.to_owned(),
        source,
    })?;
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let digest = digest.iter().take(6).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let refuge = Path::new(REFUGE).join(digest);
    fs::create_dir_all(&refuge).map_err(Error::file("create", &refuge))?;
    for directory in [Path::new(REFUGE), &refuge] {
        fs::set_permissions(directory, Permissions::from_mode(0o755))
            .map_err(Error::file("open to other users", directory))?;
    }
    symlink(&refuge, path).map_err(Error::file("link", path))?;
    tracing::warn!(
        "{program} cannot run as root, and its user cannot enter {}: its data is in {}",
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
