//! What an export may be billed, decided before any of its statements runs.
//!
//! A warehouse that bills refuses a single job that would be billed more than its cap before it reads anything. What it does not know is
//! that several jobs belong together: with two queries one would run, and be paid for, although the other is refused. So the
//! statements of an export are dry-run first, side by side; that costs nothing but a round trip. A single query within the
//! export's own cap needs none: its job's cap is the same question.

use super::export::{Engine, Failure};
use super::inputs::QueryError;
use crate::config::Export;
use crate::model::Statement;
use crate::ports::warehouse::{Cost, DryRun, Warehouse, WarehouseError, WarehouseErrorKind as Kind};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Refuses an export that would be billed more than it may.
pub fn check(engine: &Engine, export: &Export, statements: &[Statement], handle: &Handle) -> Result<(), Failure> {
    if !engine.warehouse.bills() || statements.len() < 2 {
        return Ok(());
    }
    let asked = handle.block_on(engine.cancel.or(ask(&engine.warehouse, statements)));
    engine.go_on()?;
    let mut costs = Vec::new();
    for (query, outcome) in export.queries.iter().zip(asked.unwrap_or_default()) {
        match outcome {
            Ok(told) => costs.extend(told.cost.map(|cost| (query, cost))),
            // Its default takes its place when it is asked in earnest.
            Err(error) if query.optional && error.kind != Kind::Cancelled => {}
            Err(error) => return Err(engine.query_failure(QueryError { query: query.name.value.clone(), error })),
        }
    }
    // An optional query over its cap is refused by the warehouse and replaced by its default: it costs nothing.
    costs.retain(|(query, cost)| !(query.optional && over(cost)));
    if let Some((query, cost)) = costs.iter().find(|(_, cost)| over(cost)) {
        let (billed, cap) = (size(cost.billed), size(cost.cap));
        let name = &query.name.value;
        return Err(Failure::permanent(format!(
            "nothing was run: the query `{name}` would be billed {billed}, and its cap is {cap} (`max_bytes_billed`)"
        )));
    }
    let total: u64 = costs.iter().map(|(_, cost)| cost.billed).sum();
    match over_together(export, total) {
        Some(cap) => Err(Failure::permanent(format!(
            "nothing was run: its queries together would be billed {}, and the export's cap is {} (`max_bytes_billed`)",
            size(total),
            size(cap)
        ))),
        None => Ok(()),
    }
}

/// Whether a statement would be refused.
pub fn over(cost: &Cost) -> bool {
    cost.billed > cost.cap
}

/// The export's own cap in bytes, where what its queries would be billed together exceeds it.
pub fn over_together(export: &Export, billed: u64) -> Option<u64> {
    export.max_bytes_billed.filter(|cap| billed > *cap)
}

/// Dry-runs statements side by side; the answers are in their order.
pub async fn ask(warehouse: &Arc<dyn Warehouse>, statements: &[Statement]) -> Vec<Result<DryRun, WarehouseError>> {
    let asked: Vec<_> = statements
        .iter()
        .map(|statement| {
            let (warehouse, statement) = (warehouse.clone(), statement.clone());
            tokio::spawn(async move { warehouse.dry_run(&statement).await })
        })
        .collect();
    let mut answers = Vec::with_capacity(asked.len());
    for task in asked {
        let ended = |_| Err(WarehouseError::new(Kind::Transient, "the dry run ended without an answer"));
        answers.push(task.await.unwrap_or_else(ended));
    }
    answers
}

fn size(bytes: u64) -> String {
    format!("{bytes} bytes")
}
