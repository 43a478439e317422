//! `ready:`: conditions for running, asked before everything else. Not ready is not a failure: the caller comes back.
//!
//! A condition sees one row: the first of its query, all columns NULL when there is none, with one column more, `rows`: how
//! many rows the query gave. It is called `ready`, `row`, or by the query's name. Besides it sees parameters, facts and
//! `vars`. A condition without a query sees those alone.

use super::export::{Engine, Failure};
use super::inputs::{self, Asking, QueryError, Replaced};
use crate::config::{Export, NodeValue, ReadyDecl};
use crate::diagnostics::Diagnostic;
use crate::model::report::{FailureClass, JobReport, Status};
use crate::model::{Column, Data, Facts, Field, Statement, Type};
use crate::ports::warehouse::WarehouseError;
use crate::shape::compile::compile_row_condition;
use crate::shape::expr::Expr;
use crate::shape::run::evaluate_keyed;
use crate::shape::{Ctx, Input, KeyRows, Scope, Table};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The name that the number of rows goes by.
const ROWS: &str = "rows";

/// The rows of the queries that were asked, by their place in the export; the shapes use the same rows.
pub type Asked = BTreeMap<usize, Table>;

/// The warehouse's jobs by query.
pub type Jobs = BTreeMap<String, JobReport>;

/// Asks the queries of all conditions, side by side, and decides. `Err` with [`Status::NotReady`] says that it is too early;
/// what was asked is in `jobs` all the same.
pub fn check(
    engine: &Engine,
    export: &Export,
    facts: &Facts,
    statements: &[Statement],
    handle: &Handle,
    jobs: &mut Jobs,
) -> Result<(Asked, Vec<Replaced>), Failure> {
    if export.ready.is_empty() {
        return Ok((Asked::new(), Vec::new()));
    }
    let asking = Asking { warehouse: engine.warehouse.as_ref(), handle, cancel: &engine.cancel };
    let (asked, replaced) = ask(&asking, export, statements, jobs).map_err(|e| engine.query_failure(e))?;
    for condition in &export.ready {
        let table = condition.query.as_ref().and_then(|q| place(export, &q.value)).and_then(|i| asked.get(&i));
        if !holds(engine, export, facts, condition, table)? {
            return Err(Failure {
                status: Status::NotReady,
                class: Some(FailureClass::NotReady),
                retry_after: condition.retry_every.as_ref().map(|pause| pause.value),
                give_up_after: condition.give_up_after,
                ..Failure::permanent(condition.otherwise.clone())
            });
        }
    }
    Ok((asked, replaced))
}

/// Whether a query of the export is named by a condition.
pub fn is_asked(export: &Export, query: usize) -> bool {
    let name = &export.queries[query].name.value;
    export.ready.iter().any(|r| r.query.as_ref().is_some_and(|q| q.value == *name))
}

fn place(export: &Export, query: &str) -> Option<usize> {
    export.queries.iter().position(|q| q.name.value == query)
}

fn ask(
    asking: &Asking<'_>,
    export: &Export,
    statements: &[Statement],
    jobs: &mut Jobs,
) -> Result<(Asked, Vec<Replaced>), QueryError> {
    let places: Vec<usize> = (0..export.queries.len()).filter(|i| is_asked(export, *i)).collect();
    let queries: Vec<_> = places.iter().map(|i| (&export.queries[*i], &statements[*i])).collect();
    let (started, replaced) = inputs::start(asking, &queries)?;
    let mut asked = Asked::new();
    for (place, started) in places.into_iter().zip(started) {
        let failed = |error: WarehouseError| QueryError { query: export.queries[place].name.value.clone(), error };
        jobs.extend(started.job().map(|job| (export.queries[place].name.value.clone(), job)));
        asked.insert(place, started.collect().map_err(failed)?);
    }
    Ok((asked, replaced))
}

fn holds(
    engine: &Engine,
    export: &Export,
    facts: &Facts,
    condition: &ReadyDecl,
    table: Option<&Table>,
) -> Result<bool, Failure> {
    let (values, vars) = super::facts::shape_values(facts);
    let scope = Scope { queries: Vec::new(), facts: values, vars, document: false };
    let (expr, findings) = compile(export, condition, &scope, table.map(|t| &*t.fields));
    if !findings.is_empty() {
        return Err(Failure::of_findings("its `ready` condition cannot be asked", &findings, &engine.sources));
    }
    let rows = [Input::Table(table.map_or_else(|| first_row(&Table::empty(Arc::new([]))), first_row))];
    let key = KeyRows { table: 0, column: 0, rows: &[0] };
    let value = evaluate_keyed(&expr, &Ctx::new(&rows, &[]), Some(key));
    Ok(value.map_err(|reason| Failure::permanent(format!("`ready`: it cannot be decided: {reason}")))?.truthy())
}

/// Compiles a condition over its query's columns; `scope` gives facts and variables.
pub fn compile(
    export: &Export,
    condition: &ReadyDecl,
    scope: &Scope,
    fields: Option<&[Field]>,
) -> (Expr, Vec<Diagnostic>) {
    let node = &condition.condition;
    let mut findings = Vec::new();
    if !matches!(&node.value, NodeValue::Str { text, .. } if text.starts_with('=')) {
        findings.push(
            Diagnostic::error("bad-value", "this condition is no expression: it would always hold", node.span)
                .help("begin it with `=`, such as `=ready.rows >= 50`"),
        );
    }
    let query = condition.query.as_ref().and_then(|q| Some((q, &export.queries[place(export, &q.value)?])));
    let (mut scope, mut names) = (Scope { queries: Vec::new(), ..scope.clone() }, Vec::new());
    if let (Some((name, _)), Some(fields)) = (query, fields) {
        if fields.iter().any(|f| f.name.eq_ignore_ascii_case(ROWS)) {
            findings.push(
                Diagnostic::error(
                    "ready-rows",
                    format!(
                        "the query `{}` has a column `rows`, and `ready.rows` is how many rows it gave",
                        name.value
                    ),
                    name.span,
                )
                .help("give the column another name, such as `COUNT(*) AS games`"),
            );
        }
        scope.queries.push((name.value.clone(), with_rows(fields).into()));
        names.extend(["ready", "row", name.value.as_str()]);
    } else if let Some(name) = &condition.query
        && query.is_none()
    {
        let message = format!("there is no query `{}`", name.value);
        findings.push(Diagnostic::error("unknown-query", message, name.span));
        return (Expr::Const(crate::shape::Val::Null), findings);
    }
    let (expr, found) = compile_row_condition(node, &scope, 0, &names);
    findings.extend(found);
    (expr, findings)
}

fn with_rows(fields: &[Field]) -> Vec<Field> {
    let rows = Field { name: ROWS.to_owned(), ty: Type::Int64, nullable: false };
    fields.iter().cloned().chain([rows]).collect()
}

/// The row that a condition sees.
fn first_row(table: &Table) -> Table {
    let cell = |column: &Column| match table.len {
        0 => Column { data: Data::Null(1), nulls: None },
        _ => column.take(&[0]),
    };
    let rows = Column { data: Data::Int64(vec![table.len as i64]), nulls: None };
    Table {
        fields: with_rows(&table.fields).into(),
        columns: table.columns.iter().map(cell).chain([rows]).collect(),
        len: 1,
    }
}

/// Milliseconds for a report.
pub fn millis(duration: Option<Duration>) -> Option<u64> {
    duration.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
