//! Servers and directories for tests. Tests of one process share a Postgres, with a database each.
//!
//! Everything is written below one directory of the process. The first call of a later process
//! removes the directories of processes that have ended.

use super::error::Error;
use super::home::random_port;
use super::{Nats, Postgres, mosquitto, nats, postgres};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;

/// Followed by a process id in the name of a directory.
const PREFIX: &str = "tributary-test-";

/// Creates a new directory whose name begins with `name`.
pub fn directory(name: &str) -> Result<PathBuf, Error> {
    static CLEANED: Once = Once::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    CLEANED.call_once(remove_directories_of_ended_processes);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = format!("{PREFIX}{}", std::process::id());
    let path = std::env::temp_dir().join(process).join(format!("{name}-{number}"));
    fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
    Ok(path)
}

fn remove_directories_of_ended_processes() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            fs::remove_dir_all(entry.path()).ok(); // Another process may be removing it, too.
        }
    }
}

/// Returns the Postgres that all tests of this process share; starts it at the first call.
pub async fn shared_postgres() -> Result<&'static Postgres, Error> {
    static SHARED: OnceCell<Postgres> = OnceCell::const_new();
    SHARED.get_or_try_init(start_postgres).await
}

/// Starts a Postgres for a test that stops it. It does not use fsync: tests end processes, not the
/// machine.
pub async fn start_postgres() -> Result<Postgres, Error> {
    let options = postgres::Options { durable: false, ..postgres::Options::default() };
    Postgres::start(&directory("postgres")?, options).await
}

/// Starts a nats-server with [`nats_options`] for a test that stops it.
pub async fn start_nats() -> Result<Nats, Error> {
    Nats::start(&directory("nats")?, nats_options()).await
}

/// The default options, with an administrator who needs no password: the test itself.
/// `NATS_SERVER` names the program if not the installed one is to be tested.
pub fn nats_options() -> nats::Options {
    let binary = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    nats::Options { binary, anonymous_admin: true, ..nats::Options::default() }
}

/// The default options. `MOSQUITTO` names the program if not the installed one is to be tested.
pub fn mosquitto_options() -> mosquitto::Options {
    let binary = std::env::var_os("MOSQUITTO").map(PathBuf::from);
    mosquitto::Options { binary, ..mosquitto::Options::default() }
}

/// Returns a port that is free now, for a server that cannot report the port it listens on.
pub fn free_port() -> Result<u16, Error> {
    random_port()
}
