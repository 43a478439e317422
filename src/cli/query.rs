//! `phase6 query`: a statement on the target's warehouse; with `--jsonl` a loop of requests, one answer each.

use super::args::{Format, Global, QueryArgs};
use super::context;
use super::exit::Exit;
use crate::adapters::duckdb::DuckDb;
use crate::model::{Column, Data, Field, Param, Statement, Type};
use crate::ports::cancel::Cancel;
use crate::ports::warehouse::{Warehouse, WarehouseError, WarehouseErrorKind as Kind};
use crate::sql::values;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::sync::Arc;

/// Reads `{"id", "sql"}` lines and answers each with `{"id", "columns", "rows"}` or `{"id", "error", "kind"}`; the answer is
/// flushed before the next line is read.
fn serve_lines(engine: &Engine, input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    for line in input.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = match serde_json::from_str::<Value>(&line) {
            Ok(request) => {
                let mut reply = json!({ "id": request["id"] });
                match answer(engine, request["sql"].as_str().unwrap_or_default()) {
                    Ok((columns, rows)) => {
                        reply["columns"] = columns;
                        reply["rows"] = rows;
                    }
                    Err((kind, message)) => {
                        reply["error"] = message.into();
                        reply["kind"] = kind.into();
                    }
                }
                reply
            }
            Err(error) => json!({ "id": null, "error": format!("this is no request: {error}"), "kind": "unsupported" }),
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

type Failure = (&'static str, String);

/// Why a statement was not answered, in the protocol's words.
fn failure(error: WarehouseError) -> Failure {
    (if error.kind == Kind::Runtime { "runtime" } else { "unsupported" }, error.message)
}

fn answer(engine: &Engine, text: &str) -> Result<(Value, Value), Failure> {
    let statement = Statement::new("query", text, Vec::new());
    let (fields, rows) = rows(engine, &statement).map_err(failure)?;
    let columns: Vec<Value> =
        fields.iter().map(|Field { name, ty, .. }| json!({ "name": name, "type": ty.to_string() })).collect();
    Ok((columns.into(), rows.into_iter().map(Value::Array).collect()))
}

type Rows = (Arc<[Field]>, Vec<Vec<Value>>);

/// A statement's rows, each value as the protocol writes it.
fn rows(engine: &Engine, statement: &Statement) -> Result<Rows, WarehouseError> {
    let mut stream = engine.runtime.block_on(engine.warehouse.query(statement, &Cancel::default()))?;
    let fields = stream.fields();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next()? {
        for row in 0..batch.len {
            rows.push(batch.columns.iter().zip(fields.iter()).map(|(c, f)| cell(c, row, &f.ty)).collect());
        }
    }
    Ok((fields, rows))
}

/// `phase6 query`.
pub fn run(global: &Global, args: &QueryArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &QueryArgs) -> Result<Exit, Exit> {
    let engine = engine(global)?;
    if args.jsonl {
        let done = serve_lines(&engine, std::io::stdin().lock(), std::io::stdout().lock());
        return Ok(if done.is_ok() { Exit::Ok } else { Exit::Unavailable });
    }
    let sql = match args.sql.as_deref() {
        Some("-") => std::io::read_to_string(std::io::stdin())
            .map_err(|e| context::fail(Exit::Usage, format!("standard input cannot be read: {e}")))?,
        other => other.unwrap_or_default().to_owned(),
    };
    let params = args.params.iter().map(|p| param(p)).collect::<Result<Vec<_>, _>>()?;
    let statement = Statement::new("query", sql, params);
    match rows(&engine, &statement) {
        Ok((fields, rows)) => {
            print!("{}", shown(&fields, &rows, global.format));
            Ok(Exit::Ok)
        }
        Err(error) if error.kind == Kind::Transient => Err(context::fail(Exit::Unavailable, error.message)),
        Err(error) => Err(context::fail(Exit::Failed, error.message)),
    }
}

/// A warehouse, and the runtime that its calls are made on.
struct Engine {
    warehouse: Arc<dyn Warehouse>,
    runtime: tokio::runtime::Runtime,
}

/// The target's warehouse; without a project, an engine without tables (or over `--data`).
fn engine(global: &Global) -> Result<Engine, Exit> {
    let here = std::env::current_dir().ok();
    let main_file = crate::config::load::PUBLISHING_FILE;
    let project =
        global.config.is_some() || here.iter().flat_map(|h| h.ancestors()).any(|d| d.join(main_file).is_file());
    let warehouse: Arc<dyn Warehouse> = if project {
        let loaded = context::load(global)?;
        context::warehouse(&loaded.project, global)?
    } else {
        Arc::new(DuckDb::new(global.data.clone(), Default::default()))
    };
    Ok(Engine { warehouse, runtime: context::runtime()? })
}

/// `name=value` or `name=TYPE:value`.
fn param(text: &str) -> Result<Param, Exit> {
    let bad = |reason: String| context::fail(Exit::Usage, format!("--param {text}: {reason}"));
    let (name, value) = text.split_once('=').ok_or_else(|| bad("write name=value".into()))?;
    let typed = value.split_once(':').and_then(|(ty, rest)| Some((crate::config::decode::declared_type(ty)?, rest)));
    let (ty, value) = typed.unwrap_or((Type::String, value));
    let value = match &ty {
        Type::Int64 => crate::model::Value::Int64(value.parse().map_err(|_| bad(format!("`{value}` is no INT64")))?),
        Type::Float64 => {
            crate::model::Value::Float64(value.parse().map_err(|_| bad(format!("`{value}` is no FLOAT64")))?)
        }
        Type::Bool => crate::model::Value::Bool(value.parse().map_err(|_| bad(format!("`{value}` is no BOOL")))?),
        Type::Array(_) => {
            crate::model::Value::Array(value.split(',').map(|v| crate::model::Value::Text(v.to_owned())).collect())
        }
        _ => crate::model::Value::Text(value.to_owned()),
    };
    Ok(Param { name: name.to_owned(), ty, value })
}

/// The rows as a table, JSON, JSON lines or CSV.
fn shown(fields: &[Field], rows: &[Vec<Value>], format: Format) -> String {
    let object = |row: &Vec<Value>| -> Value {
        Value::Object(fields.iter().zip(row).map(|(f, v)| (f.name.clone(), v.clone())).collect())
    };
    let text = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match format {
        Format::Json => format!("{:#}\n", Value::Array(rows.iter().map(object).collect())),
        Format::Jsonl => rows.iter().map(|r| format!("{}\n", object(r))).collect(),
        Format::Csv => {
            let quoted = |text: String| match text.contains([',', '"', '\n', '\r']) {
                true => format!("\"{}\"", text.replace('"', "\"\"")),
                false => text,
            };
            let line = |cells: Vec<String>| cells.into_iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
            let empty = |v: &Value| if v.is_null() { String::new() } else { text(v) };
            let head = line(fields.iter().map(|f| f.name.clone()).collect());
            head + &rows.iter().map(|r| line(r.iter().map(empty).collect())).collect::<String>()
        }
        _ => aligned(
            fields.iter().map(|f| f.name.clone()).collect(),
            rows.iter().map(|r| r.iter().map(text).collect()).collect(),
        ),
    }
}

fn aligned(head: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let width =
        |i: usize| rows.iter().map(|r| r[i].chars().count()).chain([head[i].chars().count()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(c, w)| format!("{c:w$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let rule: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
    let mut out = line(&head) + &line(&rule);
    rows.iter().for_each(|row| out.push_str(&line(row)));
    out + &format!("{} {}\n", rows.len(), if rows.len() == 1 { "row" } else { "rows" })
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
            let items: Vec<Value> = (offsets[row]..offsets[row + 1]).map(|i| cell(child, i as usize, item)).collect();
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
