//! The log: text on a terminal, JSON otherwise.
//!
//! It goes to standard error: standard output is for the output of commands. Text of callers is only logged as a quoted
//! field, so its control characters are escaped. Text in the form of a secret is masked in every line: people paste
//! secrets into paths.

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
    // actix-http logs every malformed request head as an error, so strangers could fill the log.
    let filter = match "actix_http=off".parse() {
        Ok(quiet) if !filter.to_string().contains("actix_http") => filter.add_directive(quiet),
        _ => filter,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It reports a failed write with `eprintln!`, which panics if standard error is what failed.
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

/// Refuses a single word that is no level. tracing-subscriber takes it for a target to log in full, and logs nothing
/// else: `warning` would switch the log off.
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

/// A writer that masks text in the form of a secret. It masks each write by itself: tracing-subscriber writes each line
/// at once (its `fmt::Layer`, 0.3).
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
