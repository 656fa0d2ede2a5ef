//! Writes the manual pages and the completions of shells into a folder, for the packages.

use std::error::Error;
use std::fs::create_dir_all;
use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;
use wharfinger::config::Cli;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("which folder?")?;
    let folder = PathBuf::from(folder);
    create_dir_all(&folder)?;
    clap_mangen::generate_to(Cli::command(), &folder)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Cli::command(), "wharfinger", &folder)?;
    }
    Ok(())
}
