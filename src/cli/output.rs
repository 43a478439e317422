//! Records in the wanted form: for people a text, for machines JSON.

use super::args::{Format, Global};
use serde::Serialize;

/// Prints many records: one JSON array, one object a line, or the text.
pub fn records<T: Serialize>(global: &Global, records: &[T], human: impl FnOnce(&[T]) -> String) {
    match global.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(records).unwrap_or_default()),
        Format::Jsonl => records.iter().for_each(|r| println!("{}", serde_json::to_string(r).unwrap_or_default())),
        _ => print!("{}", human(records)),
    }
}

/// Prints one record.
pub fn record<T: Serialize>(global: &Global, record: &T, human: impl FnOnce(&T) -> String) {
    match global.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(record).unwrap_or_default()),
        Format::Jsonl => println!("{}", serde_json::to_string(record).unwrap_or_default()),
        _ => print!("{}", human(record)),
    }
}

/// Rows under a heading, each column as wide as its widest cell.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).chain([heading[i].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(heading.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// An instant for people: seconds are enough.
pub fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A serialized word: `not_ready`.
pub fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
