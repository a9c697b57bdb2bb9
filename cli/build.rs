//! Sets `TRIBUTARY_VERSION` for `tributary --version`: the version of the package and the commit it
//! is built from, as in `0.1.0 (abc1234def 2026-11-26)`; and `TRIBUTARY_BUILD_COMMIT` for metrics, the
//! commit without its date. The commit comes from the environment
//! variable `TRIBUTARY_COMMIT`, for builds without a repository such as that of a container image,
//! else from git; without either, it is left out.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TRIBUTARY_COMMIT");
    let version = env!("CARGO_PKG_VERSION");
    let given = std::env::var_os("TRIBUTARY_COMMIT").filter(|commit| !commit.is_empty());
    let commit = given.map(|commit| commit.to_string_lossy().into_owned()).or_else(commit);
    let hash = commit.as_deref().and_then(|commit| commit.split_whitespace().next());
    println!("cargo::rustc-env=TRIBUTARY_BUILD_COMMIT={}", hash.unwrap_or("unknown"));
    let version = commit.map_or_else(|| version.into(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=TRIBUTARY_VERSION={version}");
}

/// Returns the hash and the date of the checked-out commit, and has cargo watch for the next one.
fn commit() -> Option<String> {
    // A source archive may lie inside another repository.
    if git(&["rev-parse", "--show-prefix"])? != "cli/" {
        return None;
    }
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"])?;
    // `--git-path` knows where a worktree keeps them. A commit changes the file of its branch and the
    // reflog; a checkout changes HEAD. Cargo takes a file that does not exist for changed.
    for name in ["HEAD", "logs/HEAD", "packed-refs", &branch] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).is_file() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["log", "-1", "--abbrev=10", "--format=%h %cs"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
