//! Only compiled for tests: `#[cfg(test)]`.
