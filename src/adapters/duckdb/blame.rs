//! Which cell of which file made a statement fail: looked for once it has failed, so that reading well costs nothing.
//!
//! DuckDB names the value and, with luck, the column; whoever has to mend a file needs the file and the line.

use super::files::{self, duck_type, quoted};
use super::{raw, vectors};
use crate::config::Table;
use crate::model::{Data, Field, Type};
use crate::ports::cancel::Cancel;
use crate::ports::warehouse::{WarehouseError, WarehouseErrorKind as Kind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files that a statement reads.
pub struct Witness {
    pub database: Arc<raw::Database>,
    /// Each with its declaration, if it has one.
    pub files: Vec<(PathBuf, Option<Table>)>,
}

impl Witness {
    /// The error with the place in a file, where one is found; else as it was.
    pub fn explain(&self, error: WarehouseError) -> WarehouseError {
        if matches!(error.kind, Kind::Cancelled | Kind::Transient) {
            return error;
        }
        match self.reason(&error.message) {
            Some(reason) => WarehouseError { message: reason, kind: Kind::Data, ..error },
            None => error,
        }
    }

    fn reason(&self, message: &str) -> Option<String> {
        if let Some(reason) = csv_reason(message) {
            return Some(reason);
        }
        if message.contains("Malformed JSON") {
            return self.files.iter().find_map(|(path, _)| bad_json_line(path));
        }
        if !message.contains("Conversion Error") && !message.contains("Invalid Input Error") {
            return None;
        }
        let named = message.split("source column ").nth(1).and_then(|rest| rest.split_whitespace().next());
        self.files.iter().find_map(|(path, table)| {
            let cell = self.bad_cell(path, table.as_ref()?, named)?;
            let place = match place(path, cell.row) {
                Some(line) => format!("line {line}"),
                None => format!("element {}", cell.row),
            };
            Some(format!(
                "cannot read {}: {place}, column `{}`: `{}` is no {}",
                path.display(),
                cell.column,
                shortened(&cell.value),
                cell.ty
            ))
        })
    }

    /// The first cell of the file that is not of its declared type.
    fn bad_cell(&self, path: &Path, table: &Table, named: Option<&str>) -> Option<BadCell> {
        let connection = self.database.connect().ok()?;
        let (reader, present) = files::text_reader(path, table).ok()?;
        let suspects = table.fields.iter().filter(|f| {
            let has_text = duck_type(&f.ty) == "VARCHAR" || matches!(f.ty, Type::Array(_) | Type::Struct(_));
            !has_text && named.is_none_or(|n| f.name.eq_ignore_ascii_case(n.trim_matches('"')))
        });
        suspects
            .filter_map(|field| {
                let column = present.iter().find(|name| name.eq_ignore_ascii_case(&field.name))?;
                let sql = format!(
                    "SELECT n, v FROM (SELECT row_number() OVER () AS n, CAST({} AS VARCHAR) AS v FROM {reader}) \
                     WHERE v IS NOT NULL AND TRY_CAST(v AS {}) IS NULL ORDER BY n LIMIT 1",
                    quoted(column),
                    duck_type(&field.ty)
                );
                let (row, value) = first(&connection, &sql)?;
                Some(BadCell { row, column: field.name.clone(), value, ty: field.ty.clone() })
            })
            .min_by_key(|cell| cell.row)
    }
}

struct BadCell {
    /// From 1.
    row: u64,
    column: String,
    value: String,
    ty: Type,
}

/// The number and the text of a result's first row.
fn first(connection: &raw::Connection, sql: &str) -> Option<(u64, String)> {
    let field = |name: &str, ty| Field { name: name.into(), ty, nullable: true };
    let fields = [field("n", Type::Int64), field("v", Type::String)];
    let mut rows = connection.prepare(sql).ok()?.stream(&Cancel::default()).ok()?;
    let types: Vec<_> = rows.columns().into_iter().map(|(_, ty)| ty).collect();
    while let Some(chunk) = rows.fetch().ok()? {
        if chunk.rows() > 0 {
            let columns = vectors::columns(&chunk, &fields, &types).ok()?;
            return match (&columns[0].data, &columns[1].data) {
                (Data::Int64(n), Data::Str(v)) => Some((u64::try_from(n[0]).ok()?, v.get(0).to_owned())),
                _ => None,
            };
        }
    }
    None
}

/// What DuckDB's long report about a CSV file comes to.
fn csv_reason(message: &str) -> Option<String> {
    let rest = message.split("CSV Error on Line: ").nth(1)?;
    let line: u64 = rest.lines().next()?.trim().parse().ok()?;
    let file = message.lines().find_map(|l| l.trim().strip_prefix("file = "))?;
    let told = rest.lines().skip(1).take_while(|l| !l.starts_with("Possible fixes"));
    let what = told.filter(|l| !l.starts_with("Original Line") && !l.trim().is_empty()).last()?.trim();
    let what = what.trim_end_matches('.');
    let mut chars = what.chars();
    let what: String = chars.next()?.to_lowercase().chain(chars).collect();
    Some(format!("cannot read {file}: line {line}: {what}"))
}

/// The first line of a file of JSON lines that is no JSON.
fn bad_json_line(path: &Path) -> Option<String> {
    if path.extension().is_none_or(|e| e != "jsonl") {
        return None;
    }
    let text = std::fs::read(path).ok()?;
    text.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty()).find_map(|(i, line)| {
        let error = serde_json::from_slice::<serde_json::Value>(line).err()?;
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
        Some(format!("cannot read {}: line {}, column {}: {what}", path.display(), i + 1, error.column()))
    })
}

/// The line on which the file's n-th row begins, from 1; `None` where rows are no lines.
fn place(path: &Path, row: u64) -> Option<u64> {
    let csv = match path.extension()?.to_str()? {
        "csv" => true,
        "jsonl" => false,
        _ => return None,
    };
    let bytes = std::fs::read(path).ok()?;
    // A CSV's first row names the columns.
    let wanted = if csv { row + 1 } else { row };
    let (mut rows, mut line, mut begun, mut quoted) = (0, 1, None, false);
    for byte in bytes {
        match byte {
            b'\n' if !quoted => begun = None,
            b'\r' => {}
            _ => {
                if begun.is_none() {
                    begun = Some(line);
                    rows += 1;
                    if rows == wanted {
                        return begun;
                    }
                }
                quoted ^= csv && byte == b'"';
            }
        }
        line += u64::from(byte == b'\n');
    }
    None
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_owned() } else { text.chars().take(60).chain("…".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::DuckDb;
    use super::*;
    use crate::model::Statement;
    use crate::ports::warehouse::Warehouse;
    use std::collections::BTreeMap;

    /// What a query over one table says, whose file has this text.
    fn said(file: &str, text: &str, sql: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d").join(file), text).unwrap();
        let field = |name: &str, ty| Field { name: name.into(), ty, nullable: true };
        let fields = vec![
            field("s", Type::String),
            field("n", Type::Int64),
            field("day", Type::Date),
            field("price", Type::Numeric),
            field("at", Type::Timestamp),
            field("ok", Type::Bool),
        ];
        let table = Table { name: "d.t".into(), fields, partition_by: None, span: None };
        let db = DuckDb::new(Some(dir.path().to_owned()), BTreeMap::from([("d.t".to_owned(), table)]));
        let statement = Statement::new("t", sql, Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = runtime
            .block_on(db.query(&statement, &Cancel::default()))
            .and_then(|mut rows| std::iter::from_fn(|| rows.next().transpose()).collect::<Result<Vec<_>, _>>());
        match result {
            Ok(_) => "nothing".into(),
            Err(error) => error.message.replace(&dir.path().display().to_string(), ""),
        }
    }

    const ALL: &str = "SELECT * FROM d.t";

    #[test]
    fn a_bad_cell_has_its_file_line_and_column() {
        let csv = |rows: &str| said("t.csv", &format!("s,n,day,price,at,ok\n{rows}"), ALL);
        let good = "a,1,2025-12-12,1.5,2025-12-12T00:00:00Z,true\n";
        assert_eq!(csv(good), "nothing");
        assert_eq!(csv(&format!("{good}a,x7,,,,\n")), "cannot read /d/t.csv: line 3, column `n`: `x7` is no INT64");
        assert_eq!(csv("a,,12.12.2025,,,\n"), "cannot read /d/t.csv: line 2, column `day`: `12.12.2025` is no DATE");
        assert_eq!(csv("a,,,1.5x,,\n"), "cannot read /d/t.csv: line 2, column `price`: `1.5x` is no NUMERIC");
        assert_eq!(csv("a,,,,noon,\n"), "cannot read /d/t.csv: line 2, column `at`: `noon` is no TIMESTAMP");
        assert_eq!(csv("a,,,,,maybe\n"), "cannot read /d/t.csv: line 2, column `ok`: `maybe` is no BOOL");
        // A field that holds a line break, and an empty line, do not shift the count.
        assert_eq!(
            csv("\"a\nb\",1,,,,\n\na,2,,,,\nc,x,,,,\n"),
            "cannot read /d/t.csv: line 6, column `n`: `x` is no INT64"
        );
        assert_eq!(
            said("t.jsonl", "{\"n\": 1}\n\n{\"n\": \"x\"}\n", ALL),
            "cannot read /d/t.jsonl: line 3, column `n`: `x` is no INT64"
        );
        assert_eq!(
            said("t.json", "[{\"n\": 1},\n {\"n\": \"x\"}]", ALL),
            "cannot read /d/t.json: element 2, column `n`: `x` is no INT64"
        );
    }

    #[test]
    fn a_line_that_is_none_has_its_number() {
        let head = "s,n,day,price,at,ok\n";
        let csv = |rows: &str| said("t.csv", &format!("{head}{rows}"), ALL);
        assert_eq!(csv("a,1,,,,,7\n"), "cannot read /d/t.csv: line 2: expected Number of Columns: 6 Found: 7");
        assert_eq!(csv("a,1,,,,\n\"a\n"), "cannot read /d/t.csv: line 3: value with unterminated quote found");
        assert_eq!(
            said("t.jsonl", "{\"n\": 1}\n{\"n\": 2\n", ALL),
            "cannot read /d/t.jsonl: line 2, column 7: EOF while parsing an object"
        );
    }

    #[test]
    fn a_cast_of_the_statement_blames_no_file() {
        let said = said("t.csv", "s,n\nx,1\n", "SELECT CAST(s AS INT64) AS i FROM d.t");
        assert!(!said.contains("t.csv") && said.contains("x"), "{said}");
    }
}
