//! One file an implementation of a port; this is the only place where a name becomes a type.

pub mod directory;
pub mod duckdb;
pub mod faulty;
#[cfg(feature = "gcp")]
pub mod gcp;
pub mod memory;
pub mod memory_bus;
pub mod sqlite_bus;
pub mod webhook;

/// Hex SHA-256 of some bytes.
pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    crate::model::hex::hex(&sha2::Sha256::digest(bytes))
}

/// A short name for a piece of work that is described by a long text.
pub fn name_hash(text: &str) -> String {
    hex_sha256(text.as_bytes())[..16].to_owned()
}

#[cfg(test)]
pub mod bus_conformance;
#[cfg(test)]
pub mod conformance;
#[cfg(test)]
pub mod warehouse_conformance;
