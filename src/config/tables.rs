//! Declared tables: BigQuery DDL (`.sql`), or what `bq show --schema --format=prettyjson` prints (`dataset.table.json`).

use super::model::Table;
use crate::diagnostics::{Diagnostic, FileId, Span};
use crate::model::types::StructField;
use crate::model::{Field, Type};
use serde_json::Value;
use sqlparser::ast::{ColumnOption, DataType, Expr, Statement};
use sqlparser::dialect::BigQueryDialect;
use sqlparser::parser::Parser;

/// The tables of a DDL file.
pub fn from_ddl(file: FileId, text: &str, findings: &mut Vec<Diagnostic>) -> Vec<Table> {
    let whole = Span { file, start: 0, end: 0 };
    let statements = match Parser::parse_sql(&BigQueryDialect {}, text) {
        Ok(statements) => statements,
        Err(error) => {
            let message = error.to_string();
            findings.push(
                Diagnostic::error(
                    "bad-table-file",
                    format!("this DDL cannot be read: {message}"),
                    place(&message, text, whole),
                )
                .help("write CREATE TABLE statements of BigQuery, or the JSON that `bq show --schema` prints"),
            );
            return Vec::new();
        }
    };
    statements
        .iter()
        .filter_map(|statement| match statement {
            Statement::CreateTable(table) => Some(ddl_table(table, text, whole, findings)),
            _ => None,
        })
        .collect()
}

/// The place that the parser names in its message (`at Line: 3, Column: 7`).
fn place(message: &str, text: &str, whole: Span) -> Span {
    let number = |after: &str| -> Option<usize> {
        let rest = &message[message.find(after)? + after.len()..];
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    let (Some(line), Some(column)) = (number("Line: "), number("Column: ")) else { return whole };
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let start = (start + column.saturating_sub(1)).min(text.len()) as u32;
    Span { start, end: start, ..whole }
}

fn ddl_table(table: &sqlparser::ast::CreateTable, text: &str, whole: Span, findings: &mut Vec<Diagnostic>) -> Table {
    let name = table.name.to_string().replace('`', "");
    let start = text.find(&name).unwrap_or(0) as u32;
    let span = Span { start, end: start + name.len() as u32, ..whole };
    let fields = table
        .columns
        .iter()
        .map(|column| {
            let ty = ddl_type(&column.data_type).unwrap_or_else(|| {
                findings.push(
                    Diagnostic::error(
                        "bad-table-file",
                        format!("`{name}`: the type {} is not known", column.data_type),
                        span,
                    )
                    .help(format!("it is the type of `{}`", column.name)),
                );
                Type::String
            });
            let nullable = !column.options.iter().any(|o| matches!(o.option, ColumnOption::NotNull));
            Field { name: column.name.value.clone(), ty, nullable }
        })
        .collect();
    Table { name, fields, partition_by: partition(table), span: Some(span) }
}

fn partition(table: &sqlparser::ast::CreateTable) -> Option<String> {
    fn column(expr: &Expr) -> Option<String> {
        match expr {
            Expr::Identifier(name) => Some(name.value.clone()),
            Expr::Nested(inner) => column(inner),
            // DATE(created_at) and TIMESTAMP_TRUNC(created_at, DAY): the column inside.
            Expr::Function(function) => {
                let text = function.args.to_string();
                let inner = text.trim_start_matches('(').split([',', ')']).next()?.trim();
                Some(inner.to_owned())
            }
            _ => None,
        }
    }
    table.partition_by.as_deref().and_then(column)
}

fn ddl_type(ty: &DataType) -> Option<Type> {
    Some(match ty {
        DataType::Array(inner) => {
            use sqlparser::ast::ArrayElemTypeDef as Def;
            match inner {
                Def::AngleBracket(item) | Def::Parenthesis(item) | Def::SquareBracket(item, _) => {
                    Type::Array(Box::new(ddl_type(item)?))
                }
                _ => return None,
            }
        }
        DataType::Struct(fields, _) => Type::Struct(
            fields
                .iter()
                .map(|f| {
                    Some(StructField {
                        name: f.field_name.as_ref().map(|n| n.value.clone()).unwrap_or_default(),
                        ty: ddl_type(&f.field_type)?,
                    })
                })
                .collect::<Option<Vec<_>>>()?,
        ),
        other => {
            let text = other.to_string();
            named_type(text.split('(').next().unwrap_or_default())?
        }
    })
}

/// A scalar type by any of BigQuery's names for it.
pub fn named_type(name: &str) -> Option<Type> {
    Some(match name.trim().to_ascii_uppercase().as_str() {
        "BOOL" | "BOOLEAN" => Type::Bool,
        "INT64" | "INTEGER" | "INT" | "SMALLINT" | "BIGINT" | "TINYINT" | "BYTEINT" => Type::Int64,
        "FLOAT64" | "FLOAT" => Type::Float64,
        "NUMERIC" | "DECIMAL" => Type::Numeric,
        "BIGNUMERIC" | "BIGDECIMAL" => Type::BigNumeric,
        "STRING" => Type::String,
        "BYTES" => Type::Bytes,
        "DATE" => Type::Date,
        "TIME" => Type::Time,
        "DATETIME" => Type::DateTime,
        "TIMESTAMP" => Type::Timestamp,
        "INTERVAL" => Type::Interval,
        "JSON" => Type::Json,
        "GEOGRAPHY" => Type::Geography,
        _ => return None,
    })
}

/// The table of a `bq show --schema` file; `name` is the file's name without `.json`.
pub fn from_json(file: FileId, name: &str, text: &str, findings: &mut Vec<Diagnostic>) -> Option<Table> {
    let span = Span { file, start: 0, end: 0 };
    let mut wrong =
        |message: String| {
            findings.push(Diagnostic::error("bad-table-file", message, span).help(
                "write a list of {name, type, mode, fields}, as `bq show --schema --format=prettyjson` prints it",
            ));
        };
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            wrong(format!("this is no JSON: {error}"));
            return None;
        }
    };
    // `bq show` without --schema wraps the list.
    let list = value.get("schema").and_then(|s| s.get("fields")).unwrap_or(&value);
    match json_fields(list) {
        Ok(fields) => {
            let partition_by = value["timePartitioning"]["field"].as_str().map(str::to_owned);
            Some(Table { name: name.to_owned(), fields, partition_by, span: Some(span) })
        }
        Err(message) => {
            wrong(message);
            None
        }
    }
}

/// The columns of a list of BigQuery's `TableFieldSchema`; `Err` says what is wrong with it.
pub fn json_fields(list: &Value) -> Result<Vec<Field>, String> {
    let fields = list.as_array().ok_or("a table's schema has to be a list of columns")?;
    fields.iter().map(json_field).collect()
}

fn json_field(value: &Value) -> Result<Field, String> {
    let name = value["name"].as_str().ok_or("a column lacks its `name`")?.to_owned();
    let kind = value["type"].as_str().ok_or_else(|| format!("the column `{name}` lacks its `type`"))?;
    let inner = if matches!(kind.to_ascii_uppercase().as_str(), "RECORD" | "STRUCT") {
        let fields = value["fields"].as_array().ok_or_else(|| format!("the record `{name}` lacks its `fields`"))?;
        let fields = fields.iter().map(json_field).collect::<Result<Vec<_>, _>>()?;
        Type::Struct(fields.into_iter().map(|f| StructField { name: f.name, ty: f.ty }).collect())
    } else if kind.eq_ignore_ascii_case("RANGE") {
        let element = value["rangeElementType"]["type"].as_str().and_then(named_type);
        Type::Range(Box::new(element.ok_or_else(|| format!("the range `{name}` lacks its `rangeElementType`"))?))
    } else {
        named_type(kind).ok_or_else(|| format!("the type `{kind}` of the column `{name}` is not known"))?
    };
    let (ty, nullable) = match value["mode"].as_str().unwrap_or("NULLABLE") {
        "REPEATED" => (Type::Array(Box::new(inner)), false),
        "REQUIRED" => (inner, false),
        _ => (inner, true),
    };
    Ok(Field { name, ty, nullable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ddl_gives_types_modes_and_the_partition() {
        let mut findings = Vec::new();
        let text = "-- a table\nCREATE TABLE d.t (\n a STRING NOT NULL,\n n NUMERIC(5,1),\n l ARRAY<STRUCT<x INT64, y STRING>>,\n at TIMESTAMP\n)\nPARTITION BY a\nCLUSTER BY n; -- pf\n";
        let tables = from_ddl(FileId(0), text, &mut findings);
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(tables[0].name, "d.t");
        assert_eq!(tables[0].partition_by.as_deref(), Some("a"));
        let shown: Vec<String> =
            tables[0].fields.iter().map(|f| format!("{} {} {}", f.name, f.ty, f.nullable)).collect();
        assert_eq!(
            shown,
            ["a STRING false", "n NUMERIC true", "l ARRAY<STRUCT<x INT64, y STRING>> true", "at TIMESTAMP true"]
        );
    }

    #[test]
    fn json_gives_the_same() {
        let mut findings = Vec::new();
        let text = r#"[{"name":"a","type":"STRING","mode":"REQUIRED"},{"name":"l","type":"RECORD","mode":"REPEATED","fields":[{"name":"x","type":"INTEGER"}]}]"#;
        let table = from_json(FileId(0), "d.t", text, &mut findings).unwrap();
        assert_eq!(table.fields[1].ty.to_string(), "ARRAY<STRUCT<x INT64>>");
        assert!(!table.fields[0].nullable);
        assert!(from_json(FileId(0), "d.t", "{", &mut findings).is_none());
        assert!(from_json(FileId(0), "d.t", r#"[{"name":"a","type":"TEXT"}]"#, &mut findings).is_none());
        assert_eq!(findings.len(), 2);
    }
}
