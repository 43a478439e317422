//! One file an implementation of a port; this is the only place where a name becomes a type.

pub mod directory;
pub mod duckdb;
pub mod faulty;
pub mod memory;

/// Hex SHA-256 of some bytes.
pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(bytes))
}

/// A short name for a piece of work that is described by a long text.
pub fn name_hash(text: &str) -> String {
    hex_sha256(text.as_bytes())[..16].to_owned()
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

#[cfg(test)]
pub mod conformance;
