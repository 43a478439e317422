//! The warehouse folder: `<dataset>/<table>.parquet|csv|jsonl|json`, seen through views that read no more than a query needs.

use super::raw::{Connection, LogicalType};
use crate::config::Table;
use crate::model::types::StructField;
use crate::model::{Field, Type};
use crate::ports::warehouse::{WarehouseError, WarehouseErrorKind as Kind};
use libduckdb_sys as ffi;
use std::path::{Path, PathBuf};

/// The forms that a table's file may have; where several exist the first wins.
const FORMS: [&str; 4] = ["parquet", "csv", "jsonl", "json"];

/// The file of `dataset.table`, compared without case where the exact name does not exist.
pub fn find(data: &Path, name: &str) -> Result<PathBuf, WarehouseError> {
    let (dataset, table) = name.split_once('.').unwrap_or(("", name));
    if !plain(dataset) || !plain(table) {
        return Err(WarehouseError::new(Kind::Invalid, format!("`{name}` is no table's name")));
    }
    for form in FORMS {
        let path = data.join(dataset).join(format!("{table}.{form}"));
        if path.is_file() {
            return Ok(path);
        }
    }
    Err(WarehouseError::new(
        Kind::Data,
        format!(
            "no file holds the table `{name}`: looked for {dataset}/{table}.{} in {}",
            FORMS.join("|"),
            data.display()
        ),
    ))
}

fn plain(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

/// The columns of a table's file, as GoogleSQL calls them. Columns of types without a GoogleSQL name are left out.
pub fn file_fields(connection: &Connection, path: &Path) -> Result<Vec<Field>, WarehouseError> {
    let columns = file_columns(connection, path)?;
    Ok(columns
        .into_iter()
        .filter_map(|(name, ty)| Some(Field { name, ty: google_type(&ty)?, nullable: true }))
        .collect())
}

fn file_columns(connection: &Connection, path: &Path) -> Result<Vec<(String, LogicalType)>, WarehouseError> {
    let prepared = connection
        .prepare(&format!("SELECT * FROM {}", reader(path, None)))
        .map_err(|e| WarehouseError::new(Kind::Data, format!("cannot read {}: {}", path.display(), e.message)))?;
    Ok(prepared.columns())
}

/// Makes the view `"dataset"."table"` over the file: declared columns in their declared types, or all of the file's.
pub fn create_view(
    connection: &Connection,
    name: &str,
    path: &Path,
    declared: Option<&Table>,
) -> Result<(), WarehouseError> {
    let (dataset, table) = name.split_once('.').unwrap_or(("", name));
    let select = match declared {
        None => format!("SELECT * FROM {}", reader(path, None)),
        Some(table) => declared_select(connection, path, table)?,
    };
    connection.execute(&format!(
        "CREATE SCHEMA IF NOT EXISTS {0}; CREATE OR REPLACE VIEW {0}.{1} AS {select}",
        quoted(dataset),
        quoted(table)
    ))
}

fn declared_select(connection: &Connection, path: &Path, table: &Table) -> Result<String, WarehouseError> {
    if path.extension().is_some_and(|e| e == "jsonl" || e == "json") {
        let columns = table.fields.iter().map(|f| cast(&quoted(&f.name), &f.ty, false) + " AS " + &quoted(&f.name));
        let columns: Vec<String> = columns.collect();
        return Ok(format!("SELECT {} FROM {}", columns.join(", "), reader(path, Some(table))));
    }
    let csv = path.extension().is_some_and(|e| e == "csv");
    let header = if csv { csv_header(path)? } else { Vec::new() };
    let present = match csv {
        // Text, until the declared types are cast to.
        true => header
            .iter()
            .map(|name| (name.clone(), LogicalType::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR)))
            .collect(),
        false => file_columns(connection, path)?,
    };
    let reader = if csv { csv_reader(path, &header) } else { reader(path, Some(table)) };
    let columns: Vec<String> = table
        .fields
        .iter()
        .map(|field| {
            let name = quoted(&field.name);
            match present.iter().find(|(n, _)| n.eq_ignore_ascii_case(&field.name)) {
                None => format!("CAST(NULL AS {}) AS {name}", duck_type(&field.ty)),
                Some((found, ty)) => {
                    let held = google_type(ty).as_ref() == Some(&field.ty) && exact(ty);
                    format!("{} AS {name}", cast(&quoted(found), &field.ty, held && !csv))
                }
            }
        })
        .collect();
    Ok(format!("SELECT {} FROM {reader}", columns.join(", ")))
}

/// What reads a declared table's file as text, and the columns that it has; a form that has types of its own is an error.
pub fn text_reader(path: &Path, table: &Table) -> Result<(String, Vec<String>), WarehouseError> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("csv") => {
            let header = csv_header(path)?;
            Ok((csv_reader(path, &header), header))
        }
        Some("jsonl" | "json") => {
            Ok((reader(path, Some(table)), table.fields.iter().map(|f| f.name.clone()).collect()))
        }
        _ => Err(WarehouseError::new(Kind::Data, format!("{} is no text", path.display()))),
    }
}

/// The names in a CSV file's first line.
fn csv_header(path: &Path) -> Result<Vec<String>, WarehouseError> {
    use std::io::BufRead;
    let failed = |e: std::io::Error| WarehouseError::new(Kind::Data, format!("cannot read {}: {e}", path.display()));
    let mut line = String::new();
    std::io::BufReader::new(std::fs::File::open(path).map_err(failed)?).read_line(&mut line).map_err(failed)?;
    let line = line.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
    let names = csv_names(line);
    let twice = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
    let wrong = match twice {
        _ if names.iter().all(String::is_empty) => "its first line names no columns".to_owned(),
        Some((_, name)) => format!("its first line names the column `{name}` twice"),
        None => return Ok(names),
    };
    Err(WarehouseError::new(Kind::Data, format!("cannot read {}: {wrong}", path.display())))
}

/// The fields of a CSV line; a quoted one may hold commas and doubled quotes.
fn csv_names(line: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let last = names.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                names[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(String::new()),
            c => names[last].push(c),
        }
    }
    names
}

/// Reads a CSV file as text without guessing: DuckDB's detection takes longer than reading the whole of a small file.
fn csv_reader(path: &Path, header: &[String]) -> String {
    let columns: Vec<String> = header.iter().map(|name| format!("'{}': 'VARCHAR'", name.replace('\'', "''"))).collect();
    format!(
        "read_csv('{}', header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"', columns = {{{}}})",
        path.display().to_string().replace('\'', "''"),
        columns.join(", ")
    )
}

/// Whether the physical type holds the GoogleSQL type as the engine expects it.
fn exact(ty: &LogicalType) -> bool {
    match ty.id() {
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_DECIMAL => ty.decimal().1 <= 9,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_DATE
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_BLOB => true,
        _ => false,
    }
}

fn cast(expression: &str, ty: &Type, held: bool) -> String {
    if held { expression.to_owned() } else { format!("CAST({expression} AS {})", duck_type(ty)) }
}

/// The table function that reads the file. Text forms are read as text where types are declared, so that a NUMERIC never
/// passes through a float.
fn reader(path: &Path, declared: Option<&Table>) -> String {
    let literal = path.display().to_string().replace('\'', "''");
    match path.extension().and_then(|e| e.to_str()) {
        Some("parquet") => format!("read_parquet('{literal}')"),
        Some("csv") => {
            let all = if declared.is_some() { ", all_varchar = true" } else { "" };
            format!("read_csv('{literal}', header = true{all})")
        }
        _ => {
            let format = if path.extension().is_some_and(|e| e == "json") { "array" } else { "newline_delimited" };
            let columns = declared.map_or(String::new(), |table| {
                let columns: Vec<String> =
                    table.fields.iter().map(|f| format!("{}: '{}'", quoted(&f.name), json_read_type(&f.ty))).collect();
                format!(", columns = {{{}}}", columns.join(", "))
            });
            format!("read_json('{literal}', format = '{format}'{columns})")
        }
    }
}

fn json_read_type(ty: &Type) -> String {
    match ty {
        Type::Array(_) | Type::Struct(_) => duck_type(ty),
        Type::Json => "JSON".into(),
        _ => "VARCHAR".into(),
    }
}

/// A quoted identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The SQL name of the DuckDB type that a GoogleSQL type is held in.
pub fn duck_type(ty: &Type) -> String {
    match ty {
        Type::Bool => "BOOLEAN".into(),
        Type::Int64 => "BIGINT".into(),
        Type::Float64 => "DOUBLE".into(),
        Type::Numeric => "DECIMAL(38, 9)".into(),
        Type::Bytes => "BLOB".into(),
        Type::Date => "DATE".into(),
        Type::Time => "TIME".into(),
        Type::DateTime => "TIMESTAMP".into(),
        Type::Timestamp => "TIMESTAMPTZ".into(),
        Type::Interval => "INTERVAL".into(),
        Type::Json => "JSON".into(),
        Type::String | Type::BigNumeric | Type::Geography | Type::Range(_) => "VARCHAR".into(),
        Type::Array(item) => format!("{}[]", duck_type(item)),
        Type::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|f| format!("{} {}", quoted(&f.name), duck_type(&f.ty))).collect();
            format!("STRUCT({})", fields.join(", "))
        }
    }
}

/// What GoogleSQL calls a DuckDB type; `None` where it has no name for it.
pub fn google_type(ty: &LogicalType) -> Option<Type> {
    Some(match ty.id() {
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN => Type::Bool,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TINYINT
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTEGER
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_UTINYINT
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_USMALLINT
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_UINTEGER
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_UBIGINT
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_HUGEINT => Type::Int64,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_FLOAT | ffi::DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE => Type::Float64,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_DECIMAL => Type::Numeric,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR => {
            if ty.alias().is_some_and(|a| a == "JSON") {
                Type::Json
            } else {
                Type::String
            }
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BLOB => Type::Bytes,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_DATE => Type::Date,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME => Type::Time,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_S
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_MS
        | ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_NS => Type::DateTime,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ => Type::Timestamp,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTERVAL => Type::Interval,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_LIST => Type::Array(Box::new(google_type(&ty.list_item())?)),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_STRUCT => Type::Struct(
            ty.struct_fields()
                .into_iter()
                .map(|(name, ty)| Some(StructField { name, ty: google_type(&ty)? }))
                .collect::<Option<Vec<_>>>()?,
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::csv_names;

    #[test]
    fn a_quoted_name_may_hold_commas_and_quotes() {
        assert_eq!(csv_names("a,\"b, c\",\"d \"\"e\"\"\",f"), ["a", "b, c", "d \"e\"", "f"]);
        assert_eq!(csv_names(""), [""]);
    }
}
