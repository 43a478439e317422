//! Queries to rows: all of an export's queries start at once; rows that must be collected are, the others are read while the
//! document is written.

use crate::config::{Export, NodeValue, Query};
use crate::model::{Field, Statement};
use crate::ports::warehouse::{RowStream, Warehouse, WarehouseError, WarehouseErrorKind};
use crate::shape::{Input, Table};
use std::sync::Arc;
use tokio::runtime::Handle;

/// A started query.
pub struct Started {
    pub fields: Arc<[Field]>,
    stream: Box<dyn RowStream>,
    /// The first rows, read ahead so that it is known whether there are any.
    first: Option<crate::model::Batch>,
}

/// A query that failed, by its name.
#[derive(Debug)]
pub struct QueryError {
    pub query: String,
    pub error: WarehouseError,
}

/// A warning about an optional query whose default was taken.
#[derive(Debug)]
pub struct Replaced {
    pub query: String,
    pub reason: String,
}

/// Starts every query in a thread of its own; the first failure of a required one is the answer.
pub fn start(
    warehouse: &dyn Warehouse,
    export: &Export,
    statements: &[Statement],
    handle: &Handle,
) -> Result<(Vec<Started>, Vec<Replaced>), QueryError> {
    let results: Vec<Result<Started, WarehouseError>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            statements.iter().map(|statement| scope.spawn(move || start_one(warehouse, statement, handle))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(panicked()))).collect()
    });
    let mut started = Vec::new();
    let mut replaced = Vec::new();
    for ((query, statement), result) in export.queries.iter().zip(statements).zip(results) {
        match result {
            Ok(found) => started.push(found),
            Err(error) if query.optional => {
                started.push(default_rows(warehouse, query, statement, handle)?);
                replaced.push(Replaced { query: query.name.value.clone(), reason: error.message });
            }
            Err(error) => return Err(QueryError { query: query.name.value.clone(), error }),
        }
    }
    Ok((started, replaced))
}

fn panicked() -> WarehouseError {
    WarehouseError::new(WarehouseErrorKind::Transient, "the query's thread ended without an answer")
}

fn start_one(warehouse: &dyn Warehouse, statement: &Statement, handle: &Handle) -> Result<Started, WarehouseError> {
    let mut stream = handle.block_on(warehouse.query(statement))?;
    let first = stream.next()?;
    Ok(Started { fields: stream.fields(), stream, first })
}

/// The declared default of an optional query. Its columns are the statement's, told without reading rows.
fn default_rows(
    warehouse: &dyn Warehouse,
    query: &Query,
    statement: &Statement,
    handle: &Handle,
) -> Result<Started, QueryError> {
    let failed = |error| QueryError { query: query.name.value.clone(), error };
    let fields = match &query.columns {
        Some(fields) => fields.clone(),
        None => handle.block_on(warehouse.columns(statement)).map_err(failed)?,
    };
    if let Some(NodeValue::Seq(rows)) = query.default.as_ref().map(|d| &d.value)
        && !rows.is_empty()
    {
        let reason = "only an empty list can be the default of a query as yet";
        return Err(failed(WarehouseError::new(WarehouseErrorKind::Invalid, reason)));
    }
    let fields: Arc<[Field]> = fields.into();
    Ok(Started { fields: fields.clone(), stream: Box::new(NoRows(fields)), first: None })
}

struct NoRows(Arc<[Field]>);

impl RowStream for NoRows {
    fn fields(&self) -> Arc<[Field]> {
        self.0.clone()
    }

    fn next(&mut self) -> Result<Option<crate::model::Batch>, WarehouseError> {
        Ok(None)
    }
}

impl Started {
    /// Whether the query gave no row.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The rows for the shape: collected, or to be read while it runs.
    fn input(self, streamed: bool) -> Result<Input, WarehouseError> {
        let Started { fields, mut stream, first } = self;
        if streamed {
            return Ok(Input::stream(Box::new(ReadAhead { stream, first })));
        }
        let mut table = Table::empty(fields);
        if let Some(first) = first {
            table.append(first);
        }
        while let Some(batch) = stream.next()? {
            table.append(batch);
        }
        Ok(Input::Table(table))
    }
}

/// Collects what has to be collected, several queries at once.
pub fn collect(export: &Export, started: Vec<Started>, streamed: &[bool]) -> Result<Vec<Input>, QueryError> {
    let results: Vec<Result<Input, WarehouseError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = started
            .into_iter()
            .zip(streamed)
            .map(|(started, streamed)| scope.spawn(move || SendInput(started.input(*streamed))))
            .collect();
        threads.into_iter().map(|t| t.join().map_or_else(|_| Err(panicked()), |sent| sent.0)).collect()
    });
    export
        .queries
        .iter()
        .zip(results)
        .map(|(query, result)| result.map_err(|error| QueryError { query: query.name.value.clone(), error }))
        .collect()
}

/// An input on its way to the thread that uses it.
struct SendInput(Result<Input, WarehouseError>);

struct ReadAhead {
    stream: Box<dyn RowStream>,
    first: Option<crate::model::Batch>,
}

impl RowStream for ReadAhead {
    fn fields(&self) -> Arc<[Field]> {
        self.stream.fields()
    }

    fn next(&mut self) -> Result<Option<crate::model::Batch>, WarehouseError> {
        match self.first.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.stream.next(),
        }
    }
}
