//! Writes a document's events as compact UTF-8 JSON.
//!
//! Each value is followed by a comma, which the end of its container overwrites: so nothing asks whether a value is the
//! first one.

use super::spool::{Spool, Spooled};
use crate::model::sink::{At, Key, Sink, SinkError};
use std::io;

/// The largest integer that every JSON reader takes exactly.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// Encodes a document into a [`Spool`].
#[derive(Debug)]
pub struct Encoder {
    out: Vec<u8>,
    flush_at: usize,
    spool: Spool,
}

impl Encoder {
    pub fn new(spool: Spool) -> Self {
        Self { out: Vec::with_capacity(4096), flush_at: spool.flush_at().max(1), spool }
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.spool.len() + self.out.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The end of the document.
    pub fn finish(mut self) -> Result<Spooled, SinkError> {
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
        self.spool.finish(self.out).map_err(|e| io_error(&e))
    }

    #[inline]
    fn after_value(&mut self) -> Result<(), SinkError> {
        self.out.push(b',');
        if self.out.len() >= self.flush_at { self.flush() } else { Ok(()) }
    }

    #[cold]
    fn flush(&mut self) -> Result<(), SinkError> {
        // The last byte stays: it is a comma that the end of a container may overwrite.
        let last = self.out.pop();
        let full = std::mem::take(&mut self.out);
        self.out = self.spool.push(full).map_err(|e| io_error(&e))?;
        self.out.extend(last);
        self.flush_at = self.spool.flush_at().max(2);
        Ok(())
    }

    #[inline]
    fn end(&mut self, close: u8) -> Result<(), SinkError> {
        match self.out.last_mut() {
            Some(last) if *last == b',' => *last = close,
            _ => self.out.push(close),
        }
        self.after_value()
    }
}

#[cold]
fn io_error(error: &io::Error) -> SinkError {
    SinkError { code: "io", message: format!("could not spool the document: {error}"), at: At::default() }
}

impl Sink for Encoder {
    #[inline]
    fn begin_object(&mut self, _: At) -> Result<(), SinkError> {
        self.out.push(b'{');
        Ok(())
    }

    #[inline]
    fn key(&mut self, key: &Key) -> Result<(), SinkError> {
        self.out.extend_from_slice(key.json().as_bytes());
        Ok(())
    }

    #[inline]
    fn end_object(&mut self) -> Result<(), SinkError> {
        self.end(b'}')
    }

    #[inline]
    fn begin_array(&mut self, _: At) -> Result<(), SinkError> {
        self.out.push(b'[');
        Ok(())
    }

    #[inline]
    fn end_array(&mut self) -> Result<(), SinkError> {
        self.end(b']')
    }

    #[inline]
    fn null(&mut self, _: At) -> Result<(), SinkError> {
        self.out.extend_from_slice(b"null");
        self.after_value()
    }

    #[inline]
    fn bool(&mut self, value: bool, _: At) -> Result<(), SinkError> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self.after_value()
    }

    #[inline]
    fn int(&mut self, value: i64, at: At) -> Result<(), SinkError> {
        if value.unsigned_abs() > MAX_INTEGER as u64 {
            return Err(too_large(value, at));
        }
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.after_value()
    }

    #[inline]
    fn float(&mut self, value: f64, at: At) -> Result<(), SinkError> {
        if !value.is_finite() {
            return Err(not_a_number(value, at));
        }
        self.out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        self.after_value()
    }

    #[inline]
    fn decimal(&mut self, value: i128, scale: u8, _: At) -> Result<(), SinkError> {
        write_decimal(&mut self.out, value, scale);
        self.after_value()
    }

    #[inline]
    fn str(&mut self, value: &str, _: At) -> Result<(), SinkError> {
        write_str(&mut self.out, value);
        self.after_value()
    }
}

#[cold]
fn too_large(value: i64, at: At) -> SinkError {
    let message =
        format!("{value} is beyond ±{MAX_INTEGER}, which JSON readers cannot hold exactly; publish it as text");
    SinkError { code: "integer-too-large", message, at }
}

#[cold]
fn not_a_number(value: f64, at: At) -> SinkError {
    SinkError { code: "not-a-number", message: format!("{value} has no form in JSON"), at }
}

/// Writes `value / 10^scale` exactly, without trailing zeros.
pub fn write_decimal(out: &mut Vec<u8>, value: i128, scale: u8) {
    if value < 0 {
        out.push(b'-');
    }
    let magnitude = value.unsigned_abs();
    if let (Ok(small), Some(unit)) = (u64::try_from(magnitude), 10_u64.checked_pow(u32::from(scale))) {
        out.extend_from_slice(itoa::Buffer::new().format(small / unit).as_bytes());
        return write_fraction(out, small % unit, scale);
    }
    write_wide(out, magnitude, scale);
}

#[inline]
fn write_fraction(out: &mut Vec<u8>, mut fraction: u64, mut scale: u8) {
    if fraction == 0 {
        return;
    }
    for (unit, zeros) in [(100_000_000, 8), (10_000, 4), (100, 2), (10, 1)] {
        // Fewer than 20 digits: each step but the first can apply once at most, the first twice.
        while scale > zeros && fraction.is_multiple_of(unit) {
            fraction /= unit;
            scale -= zeros;
        }
    }
    let mut digits = [b'0'; 21];
    digits[0] = b'.';
    let mut at = usize::from(scale);
    while fraction > 0 {
        digits[at] = b'0' + (fraction % 10) as u8;
        fraction /= 10;
        at -= 1;
    }
    out.extend_from_slice(&digits[..=usize::from(scale)]);
}

/// The same for numbers beyond 64 bits, by their text.
#[cold]
fn write_wide(out: &mut Vec<u8>, magnitude: u128, scale: u8) {
    let scale = usize::from(scale);
    let text = format!("{magnitude:0>width$}", width = scale + 1);
    let (whole, fraction) = text.split_at(text.len() - scale);
    out.extend_from_slice(whole.as_bytes());
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
}

/// Writes a text in quotes.
#[inline]
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    match first_special(bytes) {
        None => out.extend_from_slice(bytes),
        Some(at) => write_escaped(out, bytes, at),
    }
    out.push(b'"');
}

/// The first byte that JSON wants escaped; eight bytes are looked at together.
#[inline]
fn first_special(bytes: &[u8]) -> Option<usize> {
    let mut chunks = bytes.chunks_exact(8);
    let mut at = 0;
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
        let found = special(word);
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = chunks.remainder();
    rest.iter().position(|b| is_special(*b)).map(|i| at + i)
}

#[inline]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The high bit of each byte that is special; the lowest one set is right, those above it may be false alarms.
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let zero = |w: u64| w.wrapping_sub(ONES) & !w;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (control | zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64))) & HIGH
}

#[cold]
fn write_escaped(out: &mut Vec<u8>, mut bytes: &[u8], mut at: usize) {
    loop {
        out.extend_from_slice(&bytes[..at]);
        write_escape(out, bytes[at]);
        bytes = &bytes[at + 1..];
        match first_special(bytes) {
            Some(next) => at = next,
            None => return out.extend_from_slice(bytes),
        }
    }
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            return out.push(DIGITS[usize::from(byte & 15)]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: At = At(0);

    fn encode(events: impl FnOnce(&mut Encoder) -> Result<(), SinkError>) -> String {
        let mut encoder = Encoder::new(Spool::new("/tmp"));
        events(&mut encoder).unwrap();
        String::from_utf8(encoder.finish().unwrap().read().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn containers_and_commas() {
        let text = encode(|e| {
            e.begin_object(AT)?;
            e.key(&Key::new("a"))?;
            e.begin_array(AT)?;
            e.int(1, AT)?;
            e.null(AT)?;
            e.begin_array(AT)?;
            e.end_array()?;
            e.begin_object(AT)?;
            e.end_object()?;
            e.end_array()?;
            e.key(&Key::new("b\"c"))?;
            e.bool(true, AT)?;
            e.end_object()
        });
        assert_eq!(text, r#"{"a":[1,null,[],{}],"b\"c":true}"#);
    }

    #[test]
    fn numbers() {
        let decimal = |v, s| encode(|e| e.decimal(v, s, AT));
        for (value, scale, text) in [
            (2640, 2, "26.4"),
            (2000, 2, "20"),
            (-5, 1, "-0.5"),
            (0, 9, "0"),
            (5, 9, "0.000000005"),
            (100_000_000, 9, "0.1"),
            (7, 0, "7"),
            (-26_400_000_000, 9, "-26.4"),
            (10_000_000_001, 10, "1.0000000001"),
            (99999999999999999999999999999999999999, 9, "99999999999999999999999999999.999999999"),
            (-1, 38, "-0.00000000000000000000000000000000000001"),
            (i128::MIN, 0, "-170141183460469231731687303715884105728"),
        ] {
            assert_eq!(decimal(value, scale), text);
        }
        for (value, text) in [(20.0, "20.0"), (0.1, "0.1"), (-1.5, "-1.5"), (1e300, "1e300")] {
            let written = encode(|e| e.float(value, AT));
            assert_eq!(written.replace("e+", "e"), text);
        }
        assert_eq!(encode(|e| e.int(-MAX_INTEGER, AT)), "-9007199254740991");
    }

    #[test]
    fn what_json_cannot_hold_is_an_error() {
        let mut e = Encoder::new(Spool::new("/tmp"));
        assert_eq!(e.float(f64::NAN, At(7)).unwrap_err().code, "not-a-number");
        assert_eq!(e.float(f64::INFINITY, At(7)).unwrap_err().at, At(7));
        assert_eq!(e.int(MAX_INTEGER + 1, AT).unwrap_err().code, "integer-too-large");
        assert_eq!(e.int(i64::MIN, AT).unwrap_err().code, "integer-too-large");
    }

    #[test]
    fn a_document_survives_any_flush() {
        let dir = tempfile::tempdir().unwrap();
        for limit in 1..40 {
            let mut e = Encoder::new(Spool::with_limit(dir.path(), limit));
            e.begin_array(AT).unwrap();
            for i in 0..20 {
                e.begin_array(AT).unwrap();
                e.int(i, AT).unwrap();
                e.end_array().unwrap();
            }
            e.end_array().unwrap();
            let spooled = e.finish().unwrap();
            let value: serde_json::Value = serde_json::from_slice(&spooled.read().unwrap()).unwrap();
            assert_eq!(value.as_array().unwrap().len(), 20);
        }
    }

    proptest! {
        #[test]
        fn texts_are_what_serde_writes(text in "(?s).{0,40}|[\\x00-\\x7f\"\\\\é€😀]{0,40}") {
            let mut out = Vec::new();
            write_str(&mut out, &text);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn decimals_keep_their_value(value in any::<i128>(), shift in 0_u32..127, scale in 0_u8..39) {
            let (mut fast, mut slow) = (Vec::new(), Vec::new());
            let value = value >> shift;
            write_decimal(&mut fast, value, scale);
            if value < 0 {
                slow.push(b'-');
            }
            write_wide(&mut slow, value.unsigned_abs(), scale);
            prop_assert_eq!(String::from_utf8(fast).unwrap(), String::from_utf8(slow).unwrap());
        }

        #[test]
        fn floats_come_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                prop_assert_eq!(encode(|e| e.float(value, AT)).parse::<f64>().unwrap(), value);
            }
        }
    }
}
