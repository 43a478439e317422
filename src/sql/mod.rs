//! GoogleSQL on the embedded engine: the same meaning or a refusal.
//!
//! `parse` reads a statement into the tree of `ast`; `analyse` resolves its names and types and writes DuckDB's SQL at the same
//! time. Whatever is not surely the same on DuckDB is refused with its place.

mod analyse;
pub mod ast;
mod catalog;
pub mod error;
pub mod json;
pub mod parse;
pub mod template;
pub mod values;

pub use analyse::{Clock, Lowered, Reading, lower};
pub use catalog::{Catalog, MapCatalog, TableInfo};
pub use error::{SqlError, SqlErrorKind};
