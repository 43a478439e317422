//! `format`, asserted. The common ones are decided here; for the rarer ones the `jsonschema` crate is asked.

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

/// A format that strings must have.
#[derive(Debug)]
pub enum Format {
    Date,
    Time,
    DateTime,
    Other { name: Box<str>, validator: Box<Validator> },
}

const OTHERS: [&str; 14] = [
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

impl Format {
    /// `None` for a format that is not known.
    pub fn new(name: &str) -> Option<Self> {
        match name {
            "date" => return Some(Self::Date),
            "time" => return Some(Self::Time),
            "date-time" => return Some(Self::DateTime),
            _ => {}
        }
        if !OTHERS.contains(&name) {
            return None;
        }
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        let validator = options.build(&json!({"format": name})).ok()?;
        Some(Self::Other { name: name.into(), validator: Box::new(validator) })
    }

    /// Every known name.
    pub fn known() -> impl Iterator<Item = &'static str> {
        ["date", "time", "date-time"].into_iter().chain(OTHERS)
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Date => "date",
            Self::Time => "time",
            Self::DateTime => "date-time",
            Self::Other { name, .. } => name,
        }
    }

    #[inline]
    pub fn holds(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        match self {
            Self::Date => is_date(bytes),
            Self::Time => is_time(bytes),
            Self::DateTime => {
                bytes.len() > 11 && matches!(bytes[10], b'T' | b't') && is_date(&bytes[..10]) && is_time(&bytes[11..])
            }
            Self::Other { validator, .. } => validator.is_valid(&Value::from(text)),
        }
    }
}

/// The number of `len` digits.
fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

/// RFC 3339 `full-date`.
fn is_date(b: &[u8]) -> bool {
    if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
        return false;
    }
    let (Some(year), Some(month), Some(day)) = (digits(&b[..4]), digits(&b[5..7]), digits(&b[8..])) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=last).contains(&day)
}

/// RFC 3339 `full-time`; a leap second only at 23:59:60 UTC.
fn is_time(b: &[u8]) -> bool {
    if b.len() < 9 || b[2] != b':' || b[5] != b':' {
        return false;
    }
    let (Some(hour), Some(minute), Some(second)) = (digits(&b[..2]), digits(&b[3..5]), digits(&b[6..8])) else {
        return false;
    };
    if hour > 23 || minute > 59 || second > 60 {
        return false;
    }
    let mut rest = &b[8..];
    if rest[0] == b'.' {
        let len = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            return false;
        }
        rest = &rest[1 + len..];
    }
    let Some(offset) = offset_minutes(rest) else { return false };
    let utc = (i64::from(hour * 60 + minute) - offset).rem_euclid(24 * 60);
    second < 60 || utc == 23 * 60 + 59
}

fn offset_minutes(b: &[u8]) -> Option<i64> {
    match b {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let all = i64::from(hours * 60 + minutes);
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -all } else { all })
        }
        _ => None,
    }
}
