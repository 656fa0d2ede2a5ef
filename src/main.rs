//! The `wharfinger` program.

use std::process::ExitCode;

use clap::Parser as _;
use wharfinger::cli;
use wharfinger::config::Cli;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wharfinger: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}
