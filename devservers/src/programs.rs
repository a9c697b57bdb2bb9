//! Where the servers' programs are. The search path comes first; then the places where packages
//! put servers that an ordinary user's path does not name.

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

/// Where several major versions of Postgres stand side by side: (parent, prefix, suffix) of the
/// directory named after the version. Debian, PGDG on Fedora, Alpine, Homebrew.
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

/// Every directory that holds a whole Postgres server, the preferred one first.
pub(super) async fn postgres_directories() -> Vec<PathBuf> {
    // The path may name a link to the real place, and `initdb` looks for its files beside itself.
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

/// The newest first.
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

/// A shell script in front of the server would keep our signals, and the one that the kernel sends
/// when we die, from reaching it.
fn is_program(path: &Path) -> bool {
    let mut start = [0; 2];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && &start != b"#!"
}

/// Asked of the shell: only the configuration module reads the environment.
pub(super) async fn on_path(program: &str) -> Option<PathBuf> {
    let found =
        Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().await.ok()?;
    let path = PathBuf::from(String::from_utf8(found.stdout).ok()?.trim_end());
    path.is_absolute().then_some(path)
}
