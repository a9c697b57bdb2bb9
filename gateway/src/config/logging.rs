//! Options of logging and of the export of spans.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{SecretParser, ServerUrl};

/// Logging to stderr.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Log")]
pub struct Log {
    /// Log messages that match FILTER: a level, or `target=level` pairs separated by commas
    #[arg(
        long,
        global = true,
        env = "TRIBUTARY_LOG",
        value_name = "FILTER",
        default_value = "info,async_nats=warn,sqlx=warn"
    )]
    pub log: String,
    /// Format of log messages
    #[arg(
        long,
        global = true,
        env = "TRIBUTARY_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// Log without colours (see no-color.org); an empty value counts as unset
    #[arg(
        long,
        global = true,
        env = "NO_COLOR",
        value_name = "ANYTHING",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        hide_env_values = true
    )]
    pub no_color: Option<String>,
}

/// Format of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text per message
    Text,
    /// One JSON object per line
    Json,
}

/// Export of spans to an `OpenTelemetry` collector.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Traces")]
pub struct Traces {
    /// Export spans to this `OpenTelemetry` collector, by OTLP over HTTP or HTTPS; without it, spans
    /// are not exported
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL",
          hide_env_values = true, value_parser = SecretParser::new(web_server))]
    pub otlp_endpoint: Option<ServerUrl>,
    /// Name of this process in exported spans
    #[arg(
        long,
        global = true,
        env = "OTEL_SERVICE_NAME",
        value_name = "NAME",
        default_value = "tributary"
    )]
    pub otel_service_name: String,
}

/// Parses the URL of a server of HTTP.
fn web_server(text: &str) -> Result<ServerUrl, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        text.parse().map_err(|error: super::InvalidUrl| error.to_string())
    } else {
        Err("the URL must start with http:// or https://".into())
    }
}
