//! One file an implementation of a port; this is the only place where a name becomes a type.

pub mod duckdb;
