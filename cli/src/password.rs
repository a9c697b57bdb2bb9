//! Passwords: from a file, from a terminal without echo, or from stdin. Never from the command line,
//! which other users of the computer can read.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, ensure};
use console::Term;

use super::output;

/// Bytes read from stdin for a password, at most: more than the longest password has.
const MAX_STDIN_BYTES: u64 = 1024;

/// Reads a password: the first line of `file` or of stdin. A terminal asks and does not echo it.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<String> {
    let text = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file);
            text.with_context(|| format!("cannot read the password from {}", file.display()))?
        }
        None if std::io::stdin().is_terminal() => {
            let terminal = Term::stderr();
            ensure!(terminal.is_term(), "cannot ask for the password: stderr is not a terminal");
            output::note("Password (not shown):");
            terminal.read_secure_line().context("cannot read the password from the terminal")?
        }
        None => {
            let mut text = String::new();
            std::io::stdin()
                .lock()
                .take(MAX_STDIN_BYTES)
                .read_to_string(&mut text)
                .context("cannot read the password from stdin")?;
            text
        }
    };
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
