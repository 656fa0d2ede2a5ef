//! Where log lines go and how they look.
//!
//! Text on a terminal, JSON otherwise, always to standard error: standard output is for what a person asked for.
//! Text of callers is only ever logged as a quoted field, so its control characters arrive escaped.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::error::{Error, Result};

/// Starts logging for the whole process.
pub fn start(filter: &str, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Error::invalid("log", format!("--log {filter:?}: {error}")))?;
    // It reports every malformed request head as an error, which strangers could fill the log with.
    let filter = match "actix_http=off".parse() {
        Ok(quiet) if !filter.to_string().contains("actix_http") => filter.add_directive(quiet),
        _ => filter,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let text = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let started = if text {
        lines.with_ansi(std::io::stderr().is_terminal()).try_init()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
    };
    started.map_err(Error::Internal)
}
