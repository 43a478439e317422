//! Content that lies compressed: the same bytes for the same content, so that nothing changes when nothing changed.

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use std::io::{Read, Write};

/// Compresses; no time and no name of a system are in the header.
pub fn pack(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    const UNKNOWN_SYSTEM: u8 = 255;
    let sink = Vec::with_capacity(plain.len() / 4);
    let mut encoder = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM).write(sink, Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// The plain content. A server that decompressed it on the way is no error: documents never begin like gzip.
pub fn unpack(stored: Vec<u8>) -> std::io::Result<Vec<u8>> {
    const MAGIC: [u8; 2] = [0x1f, 0x8b];
    if !stored.starts_with(&MAGIC) {
        return Ok(stored);
    }
    let mut plain = Vec::with_capacity(stored.len() * 4);
    GzDecoder::new(stored.as_slice()).read_to_end(&mut plain)?;
    Ok(plain)
}
