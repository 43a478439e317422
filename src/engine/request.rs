//! Runs a request: its exports side by side, each with an outcome of its own, and the run's record.

use super::export::{Engine, empty_report, run as run_export};
use crate::model::report::{CauseReport, ExportReport, RunReport, Status, Totals};
use crate::model::request::ExportRequest;
use crate::state::StateError;
use crate::state::retention::Keep;
use crate::state::runs::{RunRecord, RunStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Set when the run has to end: exports that have not begun do not begin; those under way finish whole.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs all exports of a request, at most `jobs` at once. `done` hears of each as it ends.
pub async fn run(
    engine: &Engine,
    request: &ExportRequest,
    target: &str,
    jobs: usize,
    done: &(dyn Fn(&ExportReport) + Send + Sync),
) -> RunReport {
    let begun = Instant::now();
    let limit = Arc::new(Semaphore::new(jobs.max(1)));
    let mut tasks = Vec::new();
    for name in &request.exports {
        let (engine, request, name, limit) = (engine.clone(), request.clone(), name.clone(), limit.clone());
        tasks.push(tokio::spawn(async move {
            let Ok(_permit) = limit.acquire_owned().await else { return empty_report(&name) };
            let fallback = empty_report(&name);
            let task = tokio::task::spawn_blocking(move || one(&engine, &request, &name, &Handle::current()));
            task.await.unwrap_or_else(|error| ExportReport {
                status: Status::Failed,
                reason: Some(format!("internal error: {error}")),
                ..fallback
            })
        }));
    }
    let mut exports = Vec::new();
    for (task, name) in tasks.into_iter().zip(&request.exports) {
        let report = task.await.unwrap_or_else(|_| empty_report(name));
        done(&report);
        exports.push(report);
    }
    RunReport {
        run_id: request.run_id.clone(),
        cause: CauseReport {
            kind: request.cause.kind,
            id: request.cause.id.clone(),
            time: request.cause.time.to_string(),
        },
        target: target.to_owned(),
        target_date: request.target_date.to_string(),
        totals: Totals::of(&exports),
        exports,
        duration_ms: begun.elapsed().as_secs_f64() * 1e3,
    }
}

/// Runs one export of a request; blocking.
pub fn one(engine: &Engine, request: &ExportRequest, name: &str, handle: &Handle) -> ExportReport {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return ExportReport { reason: Some("the run was interrupted before it began".into()), ..empty_report(name) };
    }
    if let Some(reason) = engine.cancel.reason() {
        return ExportReport { reason: Some(reason), ..empty_report(name) };
    }
    match engine.project.exports.iter().find(|e| e.name.value == name) {
        Some(export) => run_export(engine, request, export, handle),
        None => ExportReport {
            status: Status::Failed,
            reason: Some(format!("there is no export `{name}`")),
            ..empty_report(name)
        },
    }
}

/// Writes the record of each export's run.
pub fn record(engine: &Engine, request: &ExportRequest, report: &RunReport, handle: &Handle) -> Result<(), StateError> {
    for export in &report.exports {
        let record = RunRecord {
            run_id: request.run_id.clone(),
            export: export.export.clone(),
            target_date: Some(request.target_date),
            run_key: Some(request.run_key(&export.export)),
            cause: format!("{:?} {}", request.cause.kind, request.cause.id).to_lowercase(),
            cause_time: request.cause.time,
            started_at: request.cause.time,
            finished_at: Some(engine.clock.now()),
            status: status(export.status),
            reason: export.reason.clone(),
            report: serde_json::to_value(export).unwrap_or_default(),
        };
        handle.block_on(engine.state.record_run(&record))?;
        // Only tidying: what could not go now goes after the next run.
        let _ = handle.block_on(engine.state.prune(&export.export, record.cause_time, Keep::default()));
    }
    Ok(())
}

/// How a run record names an export's status.
pub fn status(status: Status) -> RunStatus {
    match status {
        Status::Published => RunStatus::Published,
        Status::Unchanged => RunStatus::Unchanged,
        Status::Superseded => RunStatus::Superseded,
        Status::KeptEmpty | Status::NotReady | Status::NotRun => RunStatus::Skipped,
        Status::Failed => RunStatus::Failed,
    }
}
