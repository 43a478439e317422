//! `phase6 render`: the bound SQL of an export and its parameters.

use super::args::{Engine as Shown, Format, Global, RenderArgs};
use super::context;
use super::exit::Exit;
use crate::model::{Statement, Value};
use serde_json::json;

pub fn run(global: &Global, args: &RenderArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &RenderArgs) -> Result<Exit, Exit> {
    let loaded = context::load(global)?;
    let export = context::export(&loaded.project, &args.export)?.clone();
    let request = context::request(&loaded.project, global, &args.selection, vec![args.export.clone()])?;
    let warehouse = context::duckdb(&loaded.project, global);
    let facts =
        crate::engine::facts::facts(&loaded.project, &export, &request).map_err(|e| context::fail(Exit::Usage, e))?;
    let engine = context::engine(loaded, global)?;
    let statements = crate::engine::export::statements(&engine, &request, &export, &facts).map_err(|failure| {
        for finding in &failure.findings {
            eprintln!("{}: {}", finding.place.as_deref().unwrap_or_default(), finding.message);
        }
        context::fail(Exit::Failed, failure.reason)
    })?;
    for statement in statements {
        let sql = match args.engine {
            Shown::Bigquery => statement.sql.clone(),
            Shown::Duckdb => {
                warehouse
                    .clone()?
                    .lowered(&statement)
                    .map_err(|e| context::fail(Exit::Failed, format!("{}: {e}", statement.name)))?
                    .sql
            }
        };
        print(&statement, &sql, global.format);
    }
    Ok(Exit::Ok)
}

fn print(statement: &Statement, sql: &str, format: Format) {
    if matches!(format, Format::Json | Format::Jsonl) {
        let params: Vec<_> = statement
            .params
            .iter()
            .map(|p| json!({"name": p.name, "type": p.ty.to_string(), "value": shown(&p.value)}))
            .collect();
        println!("{}", json!({"name": statement.name, "sql": sql, "params": params}));
        return;
    }
    println!("-- {}", statement.name);
    for param in &statement.params {
        println!("-- @{} {} = {}", param.name, param.ty, shown(&param.value));
    }
    println!("{}\n", sql.trim_end());
}

fn shown(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(v) => json!(v),
        Value::Int64(v) => json!(v),
        Value::Float64(v) => json!(v),
        Value::Text(v) => json!(v),
        Value::Array(items) => items.iter().map(shown).collect(),
    }
}
