//! The shape language: rows to documents. Parsed and compiled once per export, run in one pass.

#[cfg(test)]
mod against_minijinja;
pub mod compile;
pub mod eval;
pub mod expr;
pub mod filters;
pub mod infer;
pub mod parse;
pub mod run;
pub mod scope;
pub mod table;
#[cfg(test)]
mod tests;
pub mod value;

pub use compile::{CompiledShape, compile, compile_expression};
pub use run::{Ctx, Input, KeyRows, RunError};
pub use scope::Scope;
pub use table::{Index, Table};
pub use value::Val;
