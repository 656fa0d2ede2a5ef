//! The output of commands, for people or for scripts. docs/OPERATIONS.md documents the JSON.

use std::io::Write as _;

use serde::Serialize;

use crate::config::Output;
use crate::error::{Error, Field, Result};

/// Prints a line for the person at the terminal.
pub(super) fn print(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| {
        Error::invalid(
            Field::Setting,
            format!("standard output cannot be written: {error}"),
        )
    })
}

/// Prints a value as text for a person, or as JSON for a script.
pub(super) fn print_as(
    output: Output,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<()> {
    match output {
        Output::Text => print(&text()),
        Output::Json => print(&serde_json::to_string_pretty(value).map_err(Error::internal)?),
    }
}
