//! `phase6 query`: a statement on the embedded engine; with `--jsonl` a loop of requests, one answer each.

use crate::adapters::duckdb::DuckDb;
use crate::model::{Column, Data, Field, Type};
use crate::ports::warehouse::{RowStream, WarehouseError, WarehouseErrorKind as Kind};
use crate::sql::{self, Catalog, SqlErrorKind};
use crate::sql::values;
use serde_json::{Value, json};
use std::io::{BufRead, Write};

/// Reads `{"id", "sql"}` lines and answers each with `{"id", "columns", "rows"}` or `{"id", "error", "kind"}`; the answer is
/// flushed before the next line is read.
pub fn serve_lines(
    engine: &DuckDb,
    catalog: &dyn Catalog,
    input: impl BufRead,
    mut output: impl Write,
) -> std::io::Result<()> {
    for line in input.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = match serde_json::from_str::<Value>(&line) {
            Ok(request) => {
                let mut answer = json!({ "id": request["id"] });
                match run(engine, catalog, request["sql"].as_str().unwrap_or_default()) {
                    Ok((columns, rows)) => {
                        answer["columns"] = columns;
                        answer["rows"] = rows;
                    }
                    Err((kind, message)) => {
                        answer["error"] = message.into();
                        answer["kind"] = kind.into();
                    }
                }
                answer
            }
            Err(error) => json!({ "id": null, "error": format!("this is no request: {error}"), "kind": "unsupported" }),
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

type Failure = (&'static str, String);

fn run(engine: &DuckDb, catalog: &dyn Catalog, text: &str) -> Result<(Value, Value), Failure> {
    let lowered = sql::lower(text, &[], catalog).map_err(|e| {
        let kind = match e.kind {
            SqlErrorKind::Unsupported => "unsupported",
            SqlErrorKind::Invalid => "unsupported",
        };
        (kind, e.to_string())
    })?;
    if std::env::var_os("PHASE6_SHOW_SQL").is_some() {
        eprintln!("{}", lowered.sql);
    }
    let failed = |e: WarehouseError| (if e.kind == Kind::Runtime { "runtime" } else { "unsupported" }, e.message);
    let mut stream = engine.start(&lowered.sql, Some(lowered.fields), &lowered.tables, &[]).map_err(failed)?;
    let fields = stream.fields();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().map_err(failed)? {
        for row in 0..batch.len {
            let cells: Vec<Value> =
                batch.columns.iter().zip(fields.iter()).map(|(c, f)| cell(c, row, &f.ty)).collect();
            rows.push(Value::Array(cells));
        }
    }
    let columns: Vec<Value> =
        fields.iter().map(|Field { name, ty, .. }| json!({ "name": name, "type": ty.to_string() })).collect();
    Ok((columns.into(), rows.into()))
}

/// A value as the protocol writes it.
fn cell(column: &Column, row: usize, ty: &Type) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match &column.data {
        Data::Bool(v) => v[row].into(),
        Data::Int64(v) => v[row].to_string().into(),
        Data::Float64(v) if v[row].is_nan() => "NaN".into(),
        Data::Float64(v) if v[row].is_infinite() => if v[row] > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Data::Float64(v) => v[row].into(),
        Data::Decimal { scale, values: v } => {
            let value = v[row] * 10i128.pow(9u32.saturating_sub(u32::from(*scale)));
            values::numeric_text(value).into()
        }
        Data::Str(v) => v.get(row).into(),
        Data::Date(v) => values::date_text(v[row]).into(),
        Data::Time(v) => values::time_text(v[row]).into(),
        Data::DateTime(v) => values::datetime_text(v[row]).into(),
        Data::Timestamp(v) => format!("{}+00", values::datetime_text(v[row])).into(),
        Data::List { offsets, child } => {
            let item = match ty {
                Type::Array(item) => item.as_ref(),
                _ => &Type::String,
            };
            let items: Vec<Value> =
                (offsets[row]..offsets[row + 1]).map(|i| cell(child, i as usize, item)).collect();
            items.into()
        }
        Data::Struct(children) => {
            let fields = match ty {
                Type::Struct(fields) => fields.as_slice(),
                _ => &[],
            };
            let parts: Vec<Value> =
                children.iter().zip(fields).map(|(c, f)| json!([f.name, cell(c, row, &f.ty)])).collect();
            parts.into()
        }
        Data::Null(_) => Value::Null,
    }
}
