//! Formats of results: a table for people, JSON and CSV for programs.

use clap::ValueEnum;

/// Format of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns
    Table,
    /// What the API answered
    Json,
    /// The columns of the table as comma-separated values
    Csv,
}

/// Options of every command that shows objects.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Format {
    /// Format of the output
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
    /// Print JSON: short for --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Format {
    /// Returns the format that the options select.
    pub(crate) fn selected(self) -> OutputFormat {
        if self.json { OutputFormat::Json } else { self.output }
    }
}

/// Returns a field of a line of comma-separated values, in quotes where it needs them.
pub(super) fn csv_field(value: &str) -> String {
    if value.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}
