//! Output: results to stdout, everything else to stderr.

use std::io::Write;

use serde::Serialize;

use super::outcome::Failure;

/// Writes a line of the result to stdout. A closed pipe is no error: the reader has what it needs.
pub(super) fn line(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Writes a line for the operator to stderr.
pub(super) fn note(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Writes a result to stdout as indented JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
    line(&text);
    Ok(())
}

/// Writes a table to stdout: a line of `heads`, then one line for each row, columns aligned.
pub(super) fn table(heads: &[impl AsRef<str>], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
        widest.max(heads[column].as_ref().len())
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let write = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    write(heads.iter().map(AsRef::as_ref).collect());
    for row in rows {
        write(row.iter().map(String::as_str).collect());
    }
}
