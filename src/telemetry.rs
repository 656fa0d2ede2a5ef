//! Where log lines go and how they look.
//!
//! Text on a terminal, JSON otherwise, always to standard error: standard output is for what a person asked for.
//! Text of callers is only ever logged as a quoted field, so its control characters arrive escaped. Text in the form of
//! a secret is masked in every line, wherever it came from: people paste secrets into paths.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::LogFormat;
use crate::domain::secret::masked;
use crate::error::{Error, Field, Result};

/// Starts logging for the whole process.
pub fn start(filter: &str, format: LogFormat) -> Result<()> {
    check_levels(filter)?;
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Error::invalid(Field::Setting, format!("--log {filter:?}: {error}")))?;
    // It reports every malformed request head as an error, which strangers could fill the log with.
    let filter = match "actix_http=off".parse() {
        Ok(quiet) if !filter.to_string().contains("actix_http") => filter.add_directive(quiet),
        _ => filter,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would tell of a line that it cannot write by `eprintln!`, which panics where standard error is what fails.
        .log_internal_errors(false)
        .with_writer(|| Masked(io::stderr()));
    let text = match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let started = if text {
        lines.with_ansi(io::stderr().is_terminal()).try_init()
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

/// Refuses a word alone that is no level. To tracing-subscriber it is a part of the program that is logged in full, and
/// everything else is not logged at all: `warning` would switch the log off.
fn check_levels(filter: &str) -> Result<()> {
    let words = filter.split(',').map(str::trim);
    let alone = |word: &&str| !word.is_empty() && !word.contains(['=', '[', ':']);
    match words
        .filter(alone)
        .find(|word| word.parse::<LevelFilter>().is_err())
    {
        None => Ok(()),
        Some(word) => Err(Error::invalid(
            Field::Setting,
            format!(
                "--log {filter:?}: {word} is no level; levels are error, warn, info, debug, trace and off, and a part of the \
                 program has its own as in info,wharfinger::http=debug"
            ),
        )),
    }
}

/// Writes text without what has the form of a secret. Every write is a text of its own: tracing-subscriber writes each
/// line at once (its `fmt::Layer`, 0.3).
struct Masked<W>(W);

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(masked(&String::from_utf8_lossy(text)).as_bytes())?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_without_secrets() {
        let mut line = Masked(Vec::new());
        let secret = "whrt_0123456789abcdefghijklmnopqrstuvwxyzABC";
        writeln!(line, "a {secret} b").unwrap();
        line.flush().unwrap();
        assert!(!String::from_utf8_lossy(&line.0).contains("0123456789"));
        line.0.clear();
        line.write_all(b"as it \xff was").unwrap();
        assert_eq!(String::from_utf8_lossy(&line.0), "as it \u{fffd} was");
    }
}
