//! `phase6 backfill`: many days, several at once; what an earlier, interrupted backfill has done is not done again.

use super::args::{BackfillArgs, Global, Selection};
use super::context;
use super::exit::Exit;
use crate::engine::export::Engine;
use crate::engine::request::INTERRUPTED;
use crate::model::report::{ExportReport, RunReport, Totals};
use crate::model::request::{CauseKind, ExportRequest};
use crate::ports::clock::{Clock, SystemClock};
use crate::state::backfill::BackfilledDay;
use jiff::civil::Date;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::runtime::Runtime;

pub fn run(global: &Global, args: &BackfillArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &BackfillArgs) -> Result<Exit, Exit> {
    let loaded = context::load(global)?;
    for name in &args.exports {
        context::export(&loaded.project, name)?;
    }
    let rule = context::day_rule(&loaded.project)?;
    let time = context::cause_time(global)?;
    let day = |text: &str, option: &str| {
        rule.resolve(text, time).map_err(|reason| context::fail(Exit::Usage, format!("{option}: {reason}")))
    };
    let (from, to) = (day(&args.from, "--from")?, day(&args.to, "--to")?);
    if from > to {
        return Err(context::fail(Exit::Usage, format!("--from {from} lies after --to {to}")));
    }
    let selection = Selection { date: from.to_string(), params: args.params.clone(), min_games: None };
    let mut request = context::request(&loaded.project, global, &selection, args.exports.clone())?;
    request.cause.kind = CauseKind::Backfill;
    request.update_latest = args.update_latest;
    let hashes: Vec<String> = loaded
        .project
        .exports
        .iter()
        .filter(|e| args.exports.contains(&e.name.value))
        .map(|e| e.config_hash[..12].to_owned())
        .collect();
    let name = format!("{} {from} {to} {:?} {}", args.exports.join(","), request.params, hashes.join(","));
    let name = crate::adapters::name_hash(&name);
    let target = context::target(&loaded.project, global)?.name.value.clone();
    let engine = context::engine(loaded, global)?;
    let runtime = context::runtime()?;
    let done = match args.restart {
        true => BTreeSet::new(),
        false => {
            runtime.block_on(engine.state.backfill_done(&name)).map_err(|e| context::fail(Exit::Unavailable, e))?
        }
    };
    on_interrupt();
    let work = Work { engine, runtime, request, name, done, from, to, jobs: args.jobs.into() };
    let report = work.run(global, &target);
    super::run::print(global, &report);
    if INTERRUPTED.load(Ordering::Relaxed) {
        eprintln!("phase6: interrupted; the same command goes on where this one stopped");
        return Ok(Exit::Partial);
    }
    Ok(super::run::exit(&report, false))
}

/// The first Ctrl-C lets what is under way finish; a second one ends the program at once.
fn on_interrupt() {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // SAFETY: the handler stores a flag, or leaves by `_exit`; both are allowed in a signal handler.
        let registered = unsafe {
            signal_hook::low_level::register(signal, move || {
                if INTERRUPTED.swap(true, Ordering::Relaxed) {
                    signal_hook::low_level::exit(130);
                }
            })
        };
        if let Err(error) = registered {
            eprintln!("phase6: Ctrl-C cannot be caught: {error}");
        }
    }
}

struct Work {
    engine: Engine,
    runtime: Runtime,
    request: ExportRequest,
    name: String,
    done: BTreeSet<(String, Date)>,
    from: Date,
    to: Date,
    jobs: usize,
}

impl Work {
    /// Runs the days in order, the exports of a day side by side. A report line an export, not a day.
    fn run(&self, global: &Global, target: &str) -> RunReport {
        let begun = Instant::now();
        let days: Vec<Date> = self.from.series(jiff::Span::new().days(1)).take_while(|d| *d <= self.to).collect();
        let progress = super::progress::Progress::new(global, days.len() * self.request.exports.len());
        let mut sums: Vec<ExportReport> =
            self.request.exports.iter().map(|e| crate::engine::export::empty_report(e)).collect();
        for chunk in days.chunks(self.jobs.div_ceil(self.request.exports.len()).max(1)) {
            if INTERRUPTED.load(Ordering::Relaxed) {
                break;
            }
            std::thread::scope(|scope| {
                let threads: Vec<_> =
                    chunk.iter().map(|day| scope.spawn(|| self.day(*day, target, &progress))).collect();
                for thread in threads {
                    for report in thread.join().unwrap_or_default() {
                        if let Some(sum) = sums.iter_mut().find(|s| s.export == report.export) {
                            add(sum, report);
                        }
                    }
                }
            });
        }
        progress.finish();
        RunReport {
            run_id: self.request.run_id.clone(),
            cause: crate::model::report::CauseReport {
                kind: self.request.cause.kind,
                id: self.request.cause.id.clone(),
                time: self.request.cause.time.to_string(),
            },
            target: target.to_owned(),
            target_date: format!("{}..{}", self.from, self.to),
            totals: Totals::of(&sums),
            exports: sums,
            duration_ms: begun.elapsed().as_secs_f64() * 1e3,
        }
    }

    fn day(&self, day: Date, target: &str, progress: &super::progress::Progress) -> Vec<ExportReport> {
        let mut request = self.request.clone();
        request.target_date = day;
        request.run_id = format!("{}-{day}", context::run_id(SystemClock.now()));
        request.exports.retain(|e| !self.done.contains(&(e.clone(), day)));
        let report = self
            .runtime
            .block_on(crate::engine::run(&self.engine, &request, target, self.jobs, &|done| progress.done(done)));
        for export in report.exports.iter().filter(|e| e.status.is_success()) {
            let note = BackfilledDay {
                export: export.export.clone(),
                target_date: day,
                run_id: request.run_id.clone(),
                outcome: super::report::status_name(export.status).to_owned(),
            };
            if let Err(error) = self.runtime.block_on(self.engine.state.backfilled(&self.name, &note)) {
                eprintln!("phase6: {day}: the progress could not be recorded: {error}");
            }
        }
        report.exports
    }
}

/// Adds a day to an export's line; a failure stays visible with its day's reason.
fn add(sum: &mut ExportReport, day: ExportReport) {
    let worse =
        !day.status.is_success() || !sum.status.is_success() && sum.status == crate::model::report::Status::NotRun;
    let published = day.status == crate::model::report::Status::Published && sum.status.is_success();
    if worse || published {
        sum.status = day.status;
    }
    if !day.status.is_success() {
        sum.reason = day.reason;
        sum.class = day.class;
    }
    sum.findings.extend(day.findings);
    for (query, rows) in day.rows {
        *sum.rows.entry(query).or_default() += rows;
    }
    sum.bytes += day.bytes;
    sum.objects.written += day.objects.written;
    sum.objects.unchanged += day.objects.unchanged;
    sum.objects.superseded += day.objects.superseded;
    sum.objects.deleted += day.objects.deleted;
    sum.times.query_ms += day.times.query_ms;
    sum.times.shape_ms += day.times.shape_ms;
    sum.times.publish_ms += day.times.publish_ms;
    sum.times.total_ms += day.times.total_ms;
}
