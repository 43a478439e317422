//! `phase6 run`: everything of one day, or a part of it.

use super::args::{Format, Global, RunArgs};
use super::context;
use super::exit::Exit;
use super::report;
use crate::config::Project;
use crate::engine::{request as engine_request, run as engine_run};
use crate::model::report::{FailureClass, RunReport, Status};
use std::io::IsTerminal;

pub fn run(global: &Global, args: &RunArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &RunArgs) -> Result<Exit, Exit> {
    let loaded = context::load(global)?;
    let exports = selected(&loaded.project, args)?;
    let mut request = context::request(&loaded.project, global, &args.selection, exports)?;
    request.update_latest = !args.no_update_latest;
    request.force = args.force;
    let target = context::target(&loaded.project, global)?.name.value.clone();
    let engine = context::engine(loaded, global)?;
    let runtime = context::runtime()?;
    let progress = super::progress::Progress::new(global, request.exports.len());
    let report =
        runtime.block_on(engine_run(&engine, &request, &target, args.jobs.into(), &|done| progress.done(done)));
    progress.finish();
    engine_request::record(&engine, &request, &report, runtime.handle())
        .unwrap_or_else(|error| eprintln!("phase6: the run could not be recorded: {error}"));
    print(global, &report);
    Ok(exit(&report, args.strict))
}

/// The exports that were asked for, in the project's order.
fn selected(project: &Project, args: &RunArgs) -> Result<Vec<String>, Exit> {
    let all = project.exports.iter();
    if args.players {
        let chosen: Vec<String> =
            all.filter(|e| e.selected_by.as_deref() == Some("players")).map(|e| e.name.value.clone()).collect();
        if chosen.is_empty() {
            return Err(context::fail(Exit::Usage, "no export says `selected_by: players`"));
        }
        return Ok(chosen);
    }
    for name in &args.only {
        context::export(project, name)?;
    }
    Ok(all.map(|e| e.name.value.clone()).filter(|name| args.only.is_empty() || args.only.contains(name)).collect())
}

/// The report in the wanted form.
pub fn print(global: &Global, run: &RunReport) {
    match global.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(run).unwrap_or_default()),
        Format::Jsonl => {
            for export in &run.exports {
                println!("{}", serde_json::to_string(export).unwrap_or_default());
            }
        }
        _ if global.quiet && run.totals.failed == 0 => {}
        _ => print!("{}", report::human(run, super::colored(global, std::io::stdout().is_terminal()))),
    }
}

/// What the report means to a shell.
pub fn exit(run: &RunReport, strict: bool) -> Exit {
    let failed: Vec<_> = run.exports.iter().filter(|e| !e.status.is_success()).collect();
    if failed.is_empty() {
        let nothing = run.exports.iter().all(|e| e.status != Status::Published);
        return if strict && nothing { Exit::Nothing } else { Exit::Ok };
    }
    if failed.len() < run.exports.len() {
        return Exit::Partial;
    }
    if failed.iter().all(|e| e.class == Some(FailureClass::Transient)) { Exit::Unavailable } else { Exit::Failed }
}
