//! Finds the programs of the servers: first on the search path, then in the directories of packages
//! that the search path of an ordinary user does not contain.

use super::error::{Error, Packages};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Debian keeps servers in /usr/sbin; Homebrew on Apple silicon is outside the default path.
const ELSEWHERE: [&str; 6] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/opt/homebrew/sbin",
    "/opt/homebrew/bin",
    "/snap/bin",
];

/// Directories of major versions of Postgres: parent, and prefix and suffix around the version.
/// Debian, PGDG on Fedora, Alpine, Homebrew.
const VERSIONED: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
];

pub(super) async fn find(
    program: &'static str,
    packages: &'static Packages,
) -> Result<PathBuf, Error> {
    if let Some(path) = on_path(program).await {
        return Ok(path);
    }
    ELSEWHERE
        .iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file())
        .ok_or(Error::Missing { program, packages })
}

/// Returns every directory with a complete Postgres server, the preferred one first.
pub(super) async fn postgres_directories() -> Vec<PathBuf> {
    // The search path may contain a link, and `initdb` finds its files relative to the real path.
    let on_path = on_path("postgres").await.and_then(|path| path.canonicalize().ok());
    let on_path = on_path.and_then(|path| path.parent().map(Path::to_owned));
    let elsewhere = ELSEWHERE.iter().map(PathBuf::from);
    let mut directories: Vec<_> =
        on_path.into_iter().chain(versioned_directories()).chain(elsewhere).collect();
    directories.retain(|directory| {
        directory.join("initdb").is_file() && is_program(&directory.join("postgres"))
    });
    directories
}

/// Returns directories with a version in their name, the newest first.
fn versioned_directories() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix, suffix) in VERSIONED {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix));
            if let Some(version) = version.and_then(|version| version.parse::<f32>().ok()) {
                found.push((version, entry.path().join(suffix)));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    found.into_iter().map(|(_, directory)| directory).collect()
}

/// Whether the file is the server and not a shell script around it, which would not forward
/// signals.
fn is_program(path: &Path) -> bool {
    let mut start = [0; 2];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && &start != b"#!"
}

/// Finds a program through the shell, because only the configuration module reads the environment.
pub(super) async fn on_path(program: &str) -> Option<PathBuf> {
    let found =
        Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().await.ok()?;
    let path = PathBuf::from(String::from_utf8(found.stdout).ok()?.trim_end());
    path.is_absolute().then_some(path)
}
