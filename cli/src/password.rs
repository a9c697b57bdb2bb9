//! Passwords: from a file, from a terminal without echo, or from stdin. Never from the command line,
//! which other users of the computer can read.

use std::io::{IsTerminal, Read, stdin};
use std::path::Path;

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

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
        None if stdin().is_terminal() => {
            ask().context("cannot read the password from the terminal")?
        }
        None => {
            let mut text = String::new();
            stdin()
                .lock()
                .take(MAX_STDIN_BYTES)
                .read_to_string(&mut text)
                .context("cannot read the password from stdin")?;
            text
        }
    };
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Asks on the terminal. Echo is off before the question is visible, and what was typed earlier is
/// kept: a password that is typed or pasted at once is neither shown nor cut.
fn ask() -> std::io::Result<String> {
    let hidden = HiddenInput::begin()?;
    output::note("Password (not shown):");
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    drop(hidden);
    Ok(line)
}

/// A terminal without echo, until it is dropped.
struct HiddenInput {
    before: Termios,
}

impl HiddenInput {
    fn begin() -> std::io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL); // The line still ends on the screen.
        tcsetattr(stdin(), OptionalActions::Now, &hidden)?;
        Ok(Self { before })
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(stdin(), OptionalActions::Now, &self.before) {
            tracing::warn!(%error, "the echo of the terminal is still off; run `stty echo`");
        }
    }
}
