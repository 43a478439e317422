//! The command line: one file a command.

/// Runs the program on the process's arguments.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
