//! The command line: one file a command.

pub mod args;
pub mod check;
pub mod exit;
pub mod list;
pub mod report;

use args::Cli;
use clap::Parser;
use std::process::ExitCode;

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    dispatch(cli).into()
}

fn dispatch(_cli: Cli) -> exit::Exit {
    exit::Exit::Ok
}
