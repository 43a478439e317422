//! Queries to rows: all of an export's queries start at once; rows that must be collected are, the others are read while the
//! document is written.

use super::defaults;
use crate::config::Query;
use crate::model::report::JobReport;
use crate::model::{Batch, Field, Statement};
use crate::ports::cancel::Cancel;
use crate::ports::warehouse::{RowStream, Warehouse, WarehouseError, WarehouseErrorKind};
use crate::shape::{Input, Table};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Whom to ask, and what ends the asking.
pub struct Asking<'a> {
    pub warehouse: &'a dyn Warehouse,
    pub handle: &'a Handle,
    pub cancel: &'a Cancel,
}

/// A started query.
pub struct Started {
    pub fields: Arc<[Field]>,
    stream: Box<dyn RowStream>,
    /// The first rows, read ahead so that it is known whether there are any.
    first: Option<Batch>,
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
    asking: &Asking<'_>,
    queries: &[(&Query, &Statement)],
) -> Result<(Vec<Started>, Vec<Replaced>), QueryError> {
    let results: Vec<Result<Started, WarehouseError>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            queries.iter().map(|(_, statement)| scope.spawn(move || start_one(asking, statement))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(panicked()))).collect()
    });
    let mut started = Vec::new();
    let mut replaced = Vec::new();
    for ((query, statement), result) in queries.iter().zip(results) {
        match result {
            Ok(found) => started.push(found),
            // What was stopped has not failed: its default would be a guess.
            Err(error) if query.optional && error.kind != WarehouseErrorKind::Cancelled => {
                started.push(default_rows(asking, query, statement)?);
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

fn cancelled() -> WarehouseError {
    WarehouseError::new(WarehouseErrorKind::Cancelled, "it was cancelled")
}

fn start_one(asking: &Asking<'_>, statement: &Statement) -> Result<Started, WarehouseError> {
    let Asking { warehouse, handle, cancel } = asking;
    let asked = handle.block_on(cancel.or(warehouse.query(statement, cancel)));
    let mut stream = asked.ok_or_else(cancelled)??;
    let first = stream.next()?;
    Ok(Started { fields: stream.fields(), stream, first })
}

/// The declared default of an optional query. Its columns are the statement's, told without reading rows.
fn default_rows(asking: &Asking<'_>, query: &Query, statement: &Statement) -> Result<Started, QueryError> {
    let failed = |error| QueryError { query: query.name.value.clone(), error };
    let fields: Arc<[Field]> = match &query.columns {
        Some(fields) => fields.clone().into(),
        None => asking.handle.block_on(asking.warehouse.columns(statement)).map_err(failed)?.into(),
    };
    let Some(default) = &query.default else { return Ok(Started::of(Table::empty(fields))) };
    let rows = defaults::rows(default, &fields).map_err(|found| {
        let reasons: Vec<String> = found.into_iter().map(|f| f.message).collect();
        failed(WarehouseError::new(WarehouseErrorKind::Invalid, format!("its default: {}", reasons.join("; "))))
    })?;
    Ok(Started::of(rows.into()))
}

struct NoMoreRows(Arc<[Field]>);

impl RowStream for NoMoreRows {
    fn fields(&self) -> Arc<[Field]> {
        self.0.clone()
    }

    fn next(&mut self) -> Result<Option<Batch>, WarehouseError> {
        Ok(None)
    }
}

impl Started {
    /// Rows that are there already.
    pub fn of(table: Table) -> Self {
        let Table { fields, columns, len } = table;
        let first = (len > 0).then(|| Batch { fields: fields.clone(), columns, len });
        Self { fields: fields.clone(), stream: Box::new(NoMoreRows(fields)), first }
    }

    /// The warehouse's job behind the rows.
    pub fn job(&self) -> Option<JobReport> {
        self.stream.job()
    }

    /// Whether the query gave no row.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// All rows.
    pub fn collect(self) -> Result<Table, WarehouseError> {
        let Started { fields, mut stream, first } = self;
        let mut table = Table::empty(fields);
        if let Some(first) = first {
            table.append(first);
        }
        while let Some(batch) = stream.next()? {
            table.append(batch);
        }
        Ok(table)
    }

    /// The rows for the shape: collected, or to be read while it runs.
    fn input(self, streamed: bool) -> Result<Input, WarehouseError> {
        if streamed {
            let Started { stream, first, .. } = self;
            return Ok(Input::stream(Box::new(ReadAhead { stream, first })));
        }
        Ok(Input::Table(self.collect()?))
    }
}

/// Collects what has to be collected, several queries at once.
pub fn collect(queries: &[Query], started: Vec<Started>, streamed: &[bool]) -> Result<Vec<Input>, QueryError> {
    let results: Vec<Result<Input, WarehouseError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = started
            .into_iter()
            .zip(streamed)
            .map(|(started, streamed)| scope.spawn(move || SendInput(started.input(*streamed))))
            .collect();
        threads.into_iter().map(|t| t.join().map_or_else(|_| Err(panicked()), |sent| sent.0)).collect()
    });
    queries
        .iter()
        .zip(results)
        .map(|(query, result)| result.map_err(|error| QueryError { query: query.name.value.clone(), error }))
        .collect()
}

/// An input on its way to the thread that uses it.
struct SendInput(Result<Input, WarehouseError>);

struct ReadAhead {
    stream: Box<dyn RowStream>,
    first: Option<Batch>,
}

impl RowStream for ReadAhead {
    fn fields(&self) -> Arc<[Field]> {
        self.stream.fields()
    }

    fn next(&mut self) -> Result<Option<Batch>, WarehouseError> {
        match self.first.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.stream.next(),
        }
    }
}
