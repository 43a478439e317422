//! The warehouse: takes GoogleSQL, gives typed rows.

use super::cancel::Cancel;
use crate::model::report::JobReport;
use crate::model::{Batch, Field, Statement, Type};
use async_trait::async_trait;
use std::sync::Arc;

/// Runs bound GoogleSQL statements.
#[async_trait]
pub trait Warehouse: Send + Sync {
    /// What the warehouse is called in messages: `duckdb (demo/warehouse)`.
    fn describe(&self) -> String;

    /// The columns that the statement would return; reads no rows.
    async fn columns(&self, statement: &Statement) -> Result<Vec<Field>, WarehouseError>;

    /// Whether statements are billed: then [`DryRun::cost`] is known, and a cap is kept.
    fn bills(&self) -> bool {
        false
    }

    /// What can be told of the statement without running it; costs nothing. A warehouse that does not bill tells its columns.
    async fn dry_run(&self, statement: &Statement) -> Result<DryRun, WarehouseError> {
        Ok(DryRun { fields: self.columns(statement).await?, ..DryRun::default() })
    }

    /// Starts the statement. Rows come in the statement's order; dropping the stream cancels it, and so does `cancel`: a
    /// call under way, also of the stream, then soon ends with [`WarehouseErrorKind::Cancelled`].
    async fn query(&self, statement: &Statement, cancel: &Cancel) -> Result<Box<dyn RowStream>, WarehouseError>;
}

/// What a statement would come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DryRun {
    pub fields: Vec<Field>,
    /// What it would read and be billed; `None` where nothing is billed.
    pub cost: Option<Cost>,
    /// Parameters that the statement uses and nobody gave, with the types that they would need.
    pub undeclared: Vec<(String, Type)>,
}

/// What a statement would cost, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Bytes that it would read: an upper bound for clustered tables.
    pub bytes: u64,
    /// Bytes that it would be billed, after rounding.
    pub billed: u64,
    /// The most that it may be billed: more is refused before anything is read.
    pub cap: u64,
}

/// A running statement's rows. Blocking: it is read from a blocking thread, where the shape runs as well.
pub trait RowStream: Send {
    /// The result's columns, known before the first row.
    fn fields(&self) -> Arc<[Field]>;

    /// The next rows, never an empty batch; `None` after the last, however often it is asked.
    fn next(&mut self) -> Result<Option<Batch>, WarehouseError>;

    /// The job behind the rows, where the warehouse keeps records of its jobs.
    fn job(&self) -> Option<JobReport> {
        None
    }
}

/// Whose fault a failed statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarehouseErrorKind {
    /// The embedded engine cannot take this construct (ours; never run with another meaning).
    Unsupported,
    /// The statement is wrong: syntax, unknown names, types (the analyst's).
    Invalid,
    /// The statement failed on its values: overflow, division by zero, bad cast (the analyst's, or the data's).
    Runtime,
    /// A table or file is missing, unreadable or broken (the operator's).
    Data,
    /// The warehouse will not run it: no right to, nobody pays, or it would read more than it may (the operator's).
    Refused,
    /// The warehouse was not available or broke; trying again may help.
    Transient,
    /// Cancelled by us, or out of time.
    Cancelled,
}

/// A statement that did not run. `at` is the byte range in the statement's SQL, where it is known.
#[derive(Debug, Clone)]
pub struct WarehouseError {
    pub kind: WarehouseErrorKind,
    pub message: String,
    pub at: Option<std::ops::Range<usize>>,
}

impl std::fmt::Display for WarehouseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WarehouseError {}

impl WarehouseError {
    pub fn new(kind: WarehouseErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), at: None }
    }
}
