//! Output: results to stdout, everything else to stderr. Every result passes through [`Stdout`], so a
//! write that fails is the failure of its command, and text that others chose is shown, not obeyed.

mod format;

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::outcome::Failure;
use super::text;
pub(super) use format::{Format, OutputFormat};

/// Standard output. An error is a write that failed: see [`Failure::writing`].
pub(super) struct Stdout(io::StdoutLock<'static>);

impl Stdout {
    /// Locks stdout for this thread.
    #[expect(clippy::disallowed_methods, reason = "the one place that checks writes")]
    pub(super) fn lock() -> Self {
        Self(io::stdout().lock())
    }

    /// Returns whether people read stdout.
    pub(super) fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }

    /// Writes one line, in which nothing is left that a terminal interprets.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.0, "{}", text::printable(text)).map_err(Failure::writing)
    }

    /// Writes JSON, which may have several lines.
    pub(super) fn json(&mut self, json: &str) -> Result<(), Failure> {
        writeln!(self.0, "{}", text::printable_json(json)).map_err(Failure::writing)
    }

    /// Writes a document of our own as it is.
    pub(super) fn document(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(Failure::writing)
    }

    /// Writes what is buffered.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(Failure::writing)
    }
}

/// Writes a line of the result to stdout.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    Stdout::lock().line(text)
}

/// Writes the help or the version that was asked for to stdout.
pub(super) fn help(help: &clap::Error) -> Result<(), Failure> {
    help.print().map_err(Failure::writing)?;
    Stdout::lock().flush()
}

/// Writes a line for the operator to stderr. There is no place to report that it failed.
pub(super) fn note(text: &str) {
    drop(writeln!(io::stderr(), "{}", text::printable(text)));
}

/// Writes a result to stdout as indented JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
    Stdout::lock().json(&json)
}

/// Writes a table to stdout: a line of `heads`, then one line for each row, columns aligned.
pub(super) fn table(heads: &[impl AsRef<str>], rows: &[Vec<String>]) -> Result<(), Failure> {
    let heads = heads.iter().map(|head| head.as_ref().to_owned()).collect();
    let mut lines: Vec<Vec<String>> = vec![heads];
    for row in rows {
        lines.push(row.iter().map(|cell| text::printable(cell).into_owned()).collect());
    }
    let widest = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| text::width(cell)).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..lines[0].len()).map(widest).collect();
    let mut stdout = Stdout::lock();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| text::padded(cell, *width));
        stdout.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Writes rows to stdout as comma-separated values (RFC 4180), for programs: values are as they are,
/// except on a terminal.
pub(super) fn csv(heads: &[impl AsRef<str>], rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut stdout = Stdout::lock();
    let shown = stdout.is_terminal();
    let heads = heads.iter().map(|head| head.as_ref().to_owned()).collect();
    for row in std::iter::once(&heads).chain(rows) {
        let fields: Vec<_> = row.iter().map(|field| format::csv_field(field)).collect();
        let line = fields.join(",");
        if shown {
            stdout.line(&line)?;
        } else {
            stdout.document(format!("{line}\r\n").as_bytes())?;
        }
    }
    Ok(())
}

/// Returns the outcome of a command that printed its result and has a verdict on it: a reader that
/// has closed the pipe does not change the verdict.
pub(super) fn conclude(
    printed: Result<(), Failure>,
    verdict: Result<(), Failure>,
) -> Result<(), Failure> {
    match (printed, verdict) {
        (Err(printed), Err(verdict)) => Err(verdict.and(printed)),
        (printed, verdict) => verdict.and(printed),
    }
}
