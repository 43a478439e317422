//! `phase6 list`: the exports, their paths and the tables that they read.

use super::args::Format;
use crate::config::{Export, Project};
use serde_json::{Value, json};
use std::fmt::Write;

/// The list in a format.
pub fn report(project: &Project, format: Format) -> String {
    match format {
        Format::Json => format!("{:#}\n", Value::Array(project.exports.iter().map(object).collect())),
        Format::Jsonl => project.exports.iter().map(|e| format!("{}\n", object(e))).collect(),
        _ => project.exports.iter().map(lines).collect(),
    }
}

fn paths(export: &Export) -> Vec<&str> {
    let files = export.documents.iter().flat_map(|d| &d.files);
    files
        .flat_map(|f| std::iter::once(&f.path).chain(f.aliases.iter().map(|a| &a.path)))
        .map(|p| p.value.as_str())
        .collect()
}

fn tables(export: &Export) -> Vec<&str> {
    let mut tables: Vec<&str> = export.queries.iter().flat_map(|q| &q.tables).map(String::as_str).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

fn object(export: &Export) -> Value {
    json!({
        "export": export.name.value,
        "description": export.description,
        "file": export.file,
        "params": export.params.iter().map(|p| (p.name.value.clone(), json!(p.ty.to_string()))).collect::<serde_json::Map<_, _>>(),
        "paths": paths(export),
        "tables": tables(export),
    })
}

fn lines(export: &Export) -> String {
    let mut text = format!("{}  {}\n", export.name.value, export.description);
    for path in paths(export) {
        let _ = writeln!(text, "  writes {path}");
    }
    for table in tables(export) {
        let _ = writeln!(text, "  reads  {table}");
    }
    text
}
