//! The embedded warehouse: GoogleSQL lowered to DuckDB, over a folder of files.

mod blame;
pub mod files;
pub mod functions;
#[cfg(test)]
mod meaning;
pub mod raw;
pub mod scalar;
mod vectors;
mod warehouse;

use crate::config::Table;
use crate::model::{Batch, Field, Param, Type};
use crate::ports::cancel::{Cancel, OnCancel};
use crate::ports::warehouse::{RowStream, WarehouseError, WarehouseErrorKind as Kind};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

/// An embedded engine over a warehouse folder (or over none, for statements that read no table).
pub struct DuckDb {
    /// Opened at the first use: a command that runs no statement does not pay for it.
    database: OnceLock<Result<Arc<raw::Database>, WarehouseError>>,
    data: Option<PathBuf>,
    /// Declared tables by `dataset.table` in lower case.
    tables: BTreeMap<String, Table>,
    views: Mutex<HashSet<String>>,
}

impl DuckDb {
    pub fn new(data: Option<PathBuf>, tables: BTreeMap<String, Table>) -> Self {
        Self { database: OnceLock::new(), data, tables, views: Mutex::default() }
    }

    /// The folder that it reads.
    pub fn data(&self) -> Option<&std::path::Path> {
        self.data.as_deref()
    }

    fn database(&self) -> Result<&Arc<raw::Database>, WarehouseError> {
        self.database.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    fn connect(&self) -> Result<raw::Connection, WarehouseError> {
        self.database()?.connect()
    }

    /// The columns of a table: as declared, else as its file has them.
    pub fn table_fields(&self, name: &str) -> Result<Vec<Field>, WarehouseError> {
        if let Some(table) = self.tables.get(&name.to_lowercase()) {
            return Ok(table.fields.clone());
        }
        let path = self.file(name)?;
        files::file_fields(&self.connect()?, &path)
    }

    fn file(&self, name: &str) -> Result<PathBuf, WarehouseError> {
        match &self.data {
            Some(data) => files::find(data, name),
            None => {
                Err(WarehouseError::new(Kind::Data, format!("no warehouse folder is set, so there is no `{name}`")))
            }
        }
    }

    /// Makes the views of these tables, each once.
    fn ensure_views(&self, connection: &raw::Connection, tables: &[String]) -> Result<(), WarehouseError> {
        let mut made = self.views.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for name in tables {
            let key = name.to_lowercase();
            if !made.contains(&key) {
                files::create_view(connection, name, &self.file(name)?, self.tables.get(&key))?;
                made.insert(key);
            }
        }
        Ok(())
    }

    /// What can tell which file made a statement fail.
    fn witness(&self, tables: &[String]) -> Result<blame::Witness, WarehouseError> {
        let file = |name: &String| Some((self.file(name).ok()?, self.tables.get(&name.to_lowercase()).cloned()));
        Ok(blame::Witness { database: self.database()?.clone(), files: tables.iter().filter_map(file).collect() })
    }

    /// Starts a statement in DuckDB's own SQL. `fields` are the GoogleSQL names and types of its columns; where they are not
    /// known, DuckDB's are taken.
    pub fn start(
        &self,
        sql: &str,
        fields: Option<Vec<Field>>,
        tables: &[String],
        params: &[Param],
        cancel: &Cancel,
    ) -> Result<DuckRows, WarehouseError> {
        let connection = self.connect()?;
        let bell = connection.interrupt();
        let on_cancel = cancel.on_cancel(move || bell.ring());
        self.ensure_views(&connection, tables)?;
        let witness = self.witness(tables)?;
        let mut rows = begin(&connection, sql, params, cancel).map_err(|error| witness.explain(error))?;
        let columns = rows.columns();
        let fields = match fields {
            Some(fields) if fields.len() == columns.len() => fields,
            Some(fields) => {
                return Err(WarehouseError::new(
                    Kind::Unsupported,
                    format!("the engine made {} columns where {} were expected", columns.len(), fields.len()),
                ));
            }
            None => columns
                .iter()
                .map(|(name, ty)| Field {
                    name: name.clone(),
                    ty: files::google_type(ty).unwrap_or(Type::String),
                    nullable: true,
                })
                .collect(),
        };
        let types = columns.into_iter().map(|(_, ty)| ty).collect();
        let (fields, cancel) = (fields.into(), cancel.clone());
        Ok(DuckRows { rows, finished: false, types, fields, witness, cancel, _on_cancel: on_cancel, connection })
    }
}

/// Prepares, binds and starts.
fn begin(
    connection: &raw::Connection,
    sql: &str,
    params: &[Param],
    cancel: &Cancel,
) -> Result<raw::Rows, WarehouseError> {
    let prepared = connection.prepare(sql)?;
    for param in params {
        prepared.bind(param)?;
    }
    prepared.stream(cancel)
}

fn open() -> Result<Arc<raw::Database>, WarehouseError> {
    let database =
        raw::Database::open(&[("autoinstall_known_extensions", "false"), ("autoload_known_extensions", "false")])?;
    let connection = database.connect()?;
    connection.execute("SET GLOBAL TimeZone = 'UTC'")?;
    // It computes parts of a COALESCE's later arguments before the first is known, and what need not be computed may fail.
    connection.execute("SET GLOBAL disabled_optimizers = 'common_subexpressions'")?;
    for function in functions::FUNCTIONS.iter().copied().flatten() {
        scalar::register(&connection, function)?;
    }
    Ok(database)
}

/// A running statement's rows.
pub struct DuckRows {
    // Before the connection: the result is freed first.
    rows: raw::Rows,
    /// Asking a finished stream again is an error to DuckDB; to us it stays finished.
    finished: bool,
    types: Vec<raw::LogicalType>,
    fields: Arc<[Field]>,
    witness: blame::Witness,
    cancel: Cancel,
    _on_cancel: OnCancel,
    connection: raw::Connection,
}

impl Drop for DuckRows {
    /// Freeing the result waits for the engine's threads, which do not know that nobody wants its rows.
    fn drop(&mut self) {
        if !self.finished {
            self.connection.interrupt().ring();
        }
    }
}

impl RowStream for DuckRows {
    fn fields(&self) -> Arc<[Field]> {
        self.fields.clone()
    }

    fn next(&mut self) -> Result<Option<Batch>, WarehouseError> {
        if self.finished {
            return Ok(None);
        }
        if self.cancel.is_cancelled() {
            return Err(raw::cancelled());
        }
        while let Some(chunk) = self.rows.fetch().map_err(|error| self.witness.explain(error))? {
            if chunk.rows() > 0 {
                let columns = vectors::columns(&chunk, &self.fields, &self.types)?;
                return Ok(Some(Batch { fields: self.fields.clone(), columns, len: chunk.rows() }));
            }
        }
        self.finished = true;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Data, Value};
    use crate::ports::cancel::Watchdog;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn it_conforms() {
        crate::adapters::warehouse_conformance::run(Arc::new(DuckDb::new(None, BTreeMap::new()))).await;
    }

    fn rows(sql: &str, params: &[Param]) -> Vec<Batch> {
        let mut rows = DuckDb::new(None, BTreeMap::new()).start(sql, None, &[], params, &Cancel::default()).unwrap();
        std::iter::from_fn(|| rows.next().unwrap()).collect()
    }

    #[test]
    fn types_and_nulls_arrive_as_they_are() {
        let batch = &rows(
            "SELECT * FROM (VALUES (1::BIGINT, 1.5::DECIMAL(5,1), DATE '2025-12-12', [1::BIGINT, NULL], 'a long text of more than twelve'), \
             (NULL, NULL, NULL, NULL, NULL)) t(i, n, d, l, s)",
            &[],
        )[0];
        assert_eq!(batch.len, 2);
        assert!(matches!(&batch.columns[0].data, Data::Int64(v) if v[0] == 1));
        assert!(batch.columns[0].is_null(1));
        assert!(matches!(&batch.columns[1].data, Data::Decimal { scale: 1, values } if values[0] == 15));
        assert!(matches!(&batch.columns[2].data, Data::Date(v) if v[0] == 20434));
        assert!(matches!(&batch.columns[3].data, Data::List { offsets, .. } if offsets[1] == 2 && offsets[2] == 2));
        assert!(matches!(&batch.columns[4].data, Data::Str(v) if v.get(0) == "a long text of more than twelve"));
    }

    #[test]
    fn parameters_are_bound_by_name_and_type() {
        let params = [
            Param { name: "day".into(), ty: Type::Date, value: Value::Text("2025-12-12".into()) },
            Param {
                name: "names".into(),
                ty: Type::Array(Box::new(Type::String)),
                value: Value::Array(vec![Value::Text("a".into()), Value::Text("b".into())]),
            },
            Param { name: "n".into(), ty: Type::Numeric, value: Value::Text("-0.5".into()) },
        ];
        let batch = &rows("SELECT $day + 1, len($names), $n", &params)[0];
        assert!(matches!(&batch.columns[0].data, Data::Date(v) if v[0] == 20435), "{batch:?}");
        assert!(matches!(&batch.columns[1].data, Data::Int64(v) if v[0] == 2));
        assert!(matches!(&batch.columns[2].data, Data::Decimal { scale: 9, values } if values[0] == -500_000_000));
    }

    #[test]
    fn an_overflow_is_a_runtime_error() {
        let result = DuckDb::new(None, BTreeMap::new())
            .start("SELECT i + 9223372036854775807 FROM range(2) t(i)", None, &[], &[], &Cancel::default())
            .and_then(|mut r| r.next());
        assert_eq!(result.unwrap_err().kind, Kind::Runtime);
    }

    /// Runs a statement that would take hours until it is cancelled; gives how many batches came.
    fn cancelled(sql: &str, cancel: &Cancel, mut seen: impl FnMut(usize)) -> usize {
        let begun = std::time::Instant::now();
        let mut batches = 0;
        let ended = DuckDb::new(None, BTreeMap::new()).start(sql, None, &[], &[], cancel).and_then(|mut rows| {
            while rows.next()?.is_some() {
                batches += 1;
                seen(batches);
            }
            Ok(())
        });
        let error = ended.unwrap_err();
        assert_eq!(error.kind, Kind::Cancelled, "{sql}: {error}");
        assert!(begun.elapsed().as_secs() < 10, "{sql}: {:?}", begun.elapsed());
        batches
    }

    #[test]
    fn a_long_statement_ends_soon_after_it_is_cancelled() {
        let endless = "FROM range(100000000) a(x), range(100000) b(y) WHERE hash(x, y) % 7 = 0";
        // Before anything has come.
        let cancel = Cancel::default();
        let _watchdog = Watchdog::start(cancel.clone(), std::time::Duration::from_millis(100), "enough".to_owned());
        assert_eq!(cancelled(&format!("SELECT count(*) {endless}"), &cancel, |_| {}), 0);
        // While rows are read, and before it began.
        let cancel = Cancel::default();
        let third = |batches| {
            if batches == 3 {
                cancel.cancel("enough");
            }
        };
        assert_eq!(cancelled(&format!("SELECT x, y {endless}"), &cancel, third), 3);
        for sql in [format!("SELECT x, y {endless}"), format!("SELECT count(*) {endless}")] {
            assert_eq!(cancelled(&sql, &cancel, |_| {}), 0);
        }
    }
}
