//! What is wrong with a statement, and where.

use std::ops::Range;

/// Why a statement is not lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlErrorKind {
    /// The statement may be right, but its meaning cannot be kept on the embedded engine.
    Unsupported,
    /// The statement is wrong: syntax, names, types.
    Invalid,
}

/// A statement that was not lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    pub kind: SqlErrorKind,
    pub message: String,
    /// The byte range in the statement's text.
    pub at: Option<Range<usize>>,
    pub help: Option<String>,
}

impl SqlError {
    pub fn unsupported(message: impl Into<String>, at: &Range<usize>) -> Self {
        Self { kind: SqlErrorKind::Unsupported, message: message.into(), at: Some(at.clone()), help: None }
    }

    pub fn invalid(message: impl Into<String>, at: &Range<usize>) -> Self {
        Self { kind: SqlErrorKind::Invalid, message: message.into(), at: Some(at.clone()), help: None }
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if let Some(at) = &self.at {
            write!(f, " (byte {})", at.start)?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}
