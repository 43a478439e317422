//! Exit codes that mean something (`design/semantics.md` §7).

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All good.
    Ok,
    /// Findings, a failed test, or every export failed.
    Failed,
    /// Wrong use, or a project that cannot be loaded.
    Usage,
    /// Some exports succeeded, some failed.
    Partial,
    /// Nothing to do, said only with `--strict`.
    Nothing,
    /// An outside system was not available.
    Unavailable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Partial => 3,
            Exit::Nothing => 4,
            Exit::Unavailable => 5,
        })
    }
}
