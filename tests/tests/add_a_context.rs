//! `docs/add-a-context.md`, done: its blocks are put where they say in a copy of the source, and the
//! copy is built and tested. A page about adding a context that no longer adds one fails here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What belongs to the source; the rest of a checkout is not copied.
const SOURCE: [&str; 21] = [
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "deploy",
    "eventsourcing",
    "domain",
    "eventstore",
    "commands",
    "projections",
    "mqtt",
    "client",
    "devservers",
    "gateway",
    "loadtest",
    "cli",
    "console/dist",
    "migrations",
    "tests",
    "benches",
    "docs",
    "README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_owned()
}

/// A block of the page: what it is, where it goes, and its text.
struct Block {
    kind: String,
    file: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    page.split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| {
            let (head, text) = block.split_once('\n')?;
            let (kind, file) = head.split_once(' ')?;
            let (kind, file) = (kind.to_owned(), file.trim().to_owned());
            Some(Block { kind, file, text: format!("{text}\n") })
        })
        .collect()
}

/// Adds the lines that begin with `+` behind the line above them, which the file has once.
fn add_lines(file: &Path, block: &str) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    let (anchor, added) = block.split_once('\n').context("a line to add behind")?;
    let anchor = anchor.strip_prefix(' ').context("a line that is there begins with a space")?;
    let added: Vec<_> = added.lines().map(|line| line.strip_prefix('+')).collect();
    let added = added.into_iter().collect::<Option<Vec<_>>>().context("only + behind it")?;
    let line = format!("{anchor}\n");
    let mut places = text.match_indices(&line).map(|(at, _)| at);
    let (Some(at), None) = (places.next(), places.next()) else {
        bail!("{} does not have {anchor:?} once", file.display());
    };
    let at = at + anchor.len() + 1;
    let text = format!("{}{}\n{}", &text[..at], added.join("\n"), &text[at..]);
    std::fs::write(file, text)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else {
        std::fs::copy(from, to)?;
    }
    Ok(())
}

/// What is compiled of other people's crates is used again: only ours are built.
fn link_compiled(target: &Path, to: &Path) -> Result<()> {
    // Cargo never writes into a compiled file, but it does write into a fingerprint.
    for (part, how) in [("deps", "-al"), ("build", "-a"), (".fingerprint", "-a")] {
        let (from, to) = (target.join("debug").join(part), to.join("debug").join(part));
        std::fs::create_dir_all(&to)?;
        let copied = Command::new("cp").arg(how).arg(from.join(".")).arg(&to).status()?;
        if !copied.success() {
            return Ok(()); // On systems without GNU cp everything is compiled again.
        }
    }
    Ok(())
}

fn cargo(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("CARGO_MANIFEST_DIR")
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(output.status.success(), "cargo {arguments:?}: {text}");
    Ok(text)
}

#[test]
fn the_page_adds_a_context() -> Result<()> {
    let root = root();
    let page = std::fs::read_to_string(root.join("docs/add-a-context.md"))?;
    let folder = root.join("target/add-a-context");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    for part in SOURCE {
        copy(&root.join(part), &folder.join(part))?;
    }
    link_compiled(&root.join("target"), &folder.join("target"))?;

    let blocks = blocks(&page);
    ensure!(blocks.len() > 10, "the page has {} blocks", blocks.len());
    for Block { kind, file, text } in &blocks {
        let file = folder.join(file);
        if kind == "diff" {
            add_lines(&file, text)?;
        } else {
            ensure!(!file.exists(), "{} is there already", file.display());
            std::fs::create_dir_all(file.parent().context("a folder")?)?;
            std::fs::write(&file, text)?;
        }
    }
    // All packages are selected each time, or cargo selects other features of the dependencies and
    // compiles them again.
    let test = |arguments: &[&str]| -> Result<()> {
        let output = cargo(&folder, &[&["test", "--offline", "--workspace"], arguments].concat())?;
        ensure!(output.contains("test packages::"), "no test of packages ran: {output}");
        Ok(())
    };
    cargo(&folder, &["build", "--offline", "--workspace", "--bins", "--examples"])?;
    test(&["--lib", "--", "packages", "golden"])?;
    test(&["--test", "it", "--", "packages::", "architecture::", "authorization::"])?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
