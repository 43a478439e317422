//! The functions that GoogleSQL has and DuckDB lacks, or means otherwise; one entry a function.

use super::scalar::ScalarFunction;

/// All of them, registered when the engine opens.
pub static FUNCTIONS: &[&[ScalarFunction]] = &[];
