//! The `wharfinger` program.

use std::io::{Write as _, stderr};
use std::process::ExitCode;

use clap::Parser as _;
use wharfinger::cli;
use wharfinger::config::Cli;

/// Gives memory back that large answers took. The one of glibc keeps it: with it `scripts/hold` met 216 MB in its third
/// round, where 200 are allowed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed or full; then the exit code alone tells.
            let _ = writeln!(stderr(), "wharfinger: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}
