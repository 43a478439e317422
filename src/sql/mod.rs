//! GoogleSQL on the embedded engine: the same meaning or a refusal.
pub mod ast;
pub mod error;
pub mod parse;
