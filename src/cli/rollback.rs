//! `phase6 rollback`: an earlier release becomes public again, without a query.

use super::args::{Format, Global, RollbackArgs};
use super::context;
use super::exit::Exit;
use crate::engine::export::Engine;
use crate::engine::publish::Outcome;
use crate::engine::release::Published;
use crate::engine::rollback::{Plan, RollbackError, execute, plan};
use crate::ports::clock::{Clock, SystemClock};
use crate::state::runs::{RunRecord, RunStatus};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

pub fn run(global: &Global, args: &RollbackArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &RollbackArgs) -> Result<Exit, Exit> {
    let engine = context::engine(context::load(global)?, global)?;
    let runtime = context::runtime()?;
    let now = SystemClock.now();
    let paths: Vec<String> = args.paths.iter().map(|path| whole(&engine.prefix, path)).collect();
    let planned = plan(engine.store.as_ref(), &engine.state, &args.export, args.to.as_deref(), &paths, now);
    let plan = match runtime.block_on(planned) {
        Ok(plan) => plan,
        Err(error) => {
            let nothing = matches!(error, RollbackError::NoRelease(_)) && args.to.is_none();
            if nothing && runtime.block_on(engine.state.release_history(&args.export)).is_ok_and(|h| h.is_empty()) {
                // A misspelt name is worth saying so.
                context::export(&engine.project, &args.export)?;
            }
            return Err(refused(&error));
        }
    };
    if args.dry_run {
        print(global, &plan, None);
        return Ok(Exit::Ok);
    }
    let run_id = context::run_id(now);
    let published = runtime.block_on(execute(&engine.store, &engine.state, &plan, &run_id)).map_err(|e| refused(&e))?;
    record(&engine, &runtime, &plan, &run_id);
    print(global, &plan, Some(&published));
    let superseded = published.count(|o| matches!(o, Outcome::Superseded { .. }));
    Ok(if superseded > 0 { Exit::Partial } else { Exit::Ok })
}

/// A path as the store knows it, written with or without the target's prefix.
fn whole(prefix: &str, path: &str) -> String {
    if path.starts_with(prefix) { path.to_owned() } else { format!("{prefix}{path}") }
}

fn refused(error: &RollbackError) -> Exit {
    context::fail(if error.is_outside() { Exit::Unavailable } else { Exit::Failed }, error)
}

fn record(engine: &Engine, runtime: &Runtime, plan: &Plan, run_id: &str) {
    let now = engine.clock.now();
    let record = RunRecord {
        run_id: run_id.to_owned(),
        export: plan.restored.export.clone(),
        target_date: Some(plan.restored.target_date),
        run_key: None,
        cause: format!("rollback {run_id}"),
        cause_time: now,
        started_at: now,
        finished_at: Some(now),
        status: RunStatus::Published,
        reason: Some(format!("went back from {} to {}", plan.undone.run_id, plan.restored.run_id)),
        report: Value::Null,
    };
    if let Err(error) = runtime.block_on(engine.state.record_run(&record)) {
        eprintln!("phase6: the run could not be recorded: {error}");
    }
}

fn print(global: &Global, plan: &Plan, published: Option<&Published>) {
    let outcome = |i: usize| match published.map(|p| &p.outcomes[i]) {
        None if plan.objects[i].is_live() => "would stay as it is",
        None => "would be restored",
        Some(Outcome::Written { .. }) => "restored",
        Some(Outcome::Unchanged { .. } | Outcome::Kept { .. }) => "unchanged",
        Some(Outcome::Superseded { .. }) => "superseded by a newer run",
    };
    if matches!(global.format, Format::Json | Format::Jsonl) {
        let objects: Vec<Value> = (0..plan.objects.len())
            .map(|i| {
                let object = &plan.objects[i].object;
                json!({"path": object.path, "generation": object.generation, "sha256": object.sha256,
                    "outcome": outcome(i), "live_generation": plan.objects[i].live.as_ref().map(|l| l.generation)})
            })
            .collect();
        println!(
            "{:#}",
            json!({"rollback_of": plan.rollback.rollback_of, "restores": plan.rollback.restores,
                "undoes": plan.rollback.undoes, "run_id": published.map(|p| &p.release.run_id),
                "dry_run": published.is_none(), "objects": objects, "stay": plan.stay})
        );
        return;
    }
    if global.quiet {
        return;
    }
    let (from, to) = (&plan.undone, &plan.restored);
    println!("from {} (date {}) back to {} (date {})", from.run_id, from.target_date, to.run_id, to.target_date);
    for (i, planned) in plan.objects.iter().enumerate() {
        println!("  {}  generation {}  {}", planned.object.path, planned.object.generation, outcome(i));
    }
    for path in &plan.stay {
        println!("  {path}  stays: that release did not have it");
    }
}
