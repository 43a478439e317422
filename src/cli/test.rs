//! `phase6 test`: runs the tests that exports bring along, and shows what differs.

use super::args::{Format, Global, TestArgs};
use super::context;
use super::exit::Exit;
use super::progress::Progress;
use super::rehearse::{Failure, Stage};
use super::report::ms;
use crate::config::example::{Example, examples};
use crate::config::{Export, Loaded};
use crate::diagnostics::{Severity, Sources, render};
use serde_json::json;
use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub fn run(global: &Global, args: &TestArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

/// A test that ran.
struct Ran<'a> {
    export: &'a str,
    example: &'a Example,
    failures: Vec<Failure>,
    ms: f64,
}

fn prepared(global: &Global, args: &TestArgs) -> Result<Exit, Exit> {
    let begun = Instant::now();
    let loaded = context::load(global)?;
    for name in &args.exports {
        context::export(&loaded.project, name)?;
    }
    let days = context::day_rule(&loaded.project)?;
    let Loaded { project, sources, .. } = loaded;
    let stage = Stage { project, sources: Arc::new(sources), days };
    let wanted = |e: &&Export| args.exports.is_empty() || args.exports.contains(&e.name.value);
    let exports: Vec<&Export> = stage.project.exports.iter().filter(wanted).collect();
    let tests = read(&stage, &exports)?;
    let named = |export: &Export, example: &Example| format!("{}: {}", export.name.value, example.name.value);
    let chosen: Vec<(&Export, &Example)> = tests
        .iter()
        .flat_map(|(export, examples)| examples.iter().map(move |example| (*export, example)))
        .filter(|(export, example)| args.filter.as_ref().is_none_or(|text| named(export, example).contains(text)))
        .collect();
    if let (Some(text), true) = (&args.filter, chosen.is_empty()) {
        return Err(context::fail(Exit::Usage, format!("--filter {text}: no test has this text")));
    }
    let ran = run_all(&stage, &chosen, global)?;
    let untested: Vec<&str> = tests.iter().filter(|(_, t)| t.is_empty()).map(|(e, _)| e.name.value.as_str()).collect();
    let color = super::colored(global, std::io::stdout().is_terminal());
    print!("{}", text(&ran, &untested, &stage.sources, global, color, begun));
    Ok(if ran.iter().all(|r| r.failures.is_empty()) { Exit::Ok } else { Exit::Failed })
}

/// The exports' tests; mistakes in them are printed.
fn read<'a>(stage: &'a Stage, exports: &[&'a Export]) -> Result<Vec<(&'a Export, Vec<Example>)>, Exit> {
    let mut wrong = Vec::new();
    let mut tests = Vec::new();
    for export in exports {
        let (examples, findings) = examples(&stage.project, export);
        tests.push((*export, examples));
        wrong.extend(findings);
    }
    if wrong.iter().any(|f| f.severity == Severity::Error) {
        render::sort(&mut wrong, &stage.sources);
        eprint!("{}", render::human(&wrong, &stage.sources, false));
        return Err(context::fail(Exit::Usage, "there are mistakes in the tests: none was run"));
    }
    Ok(tests)
}

/// Runs the tests on a few threads; the results are in the order of the files.
fn run_all<'a>(stage: &Stage, chosen: &[(&'a Export, &'a Example)], global: &Global) -> Result<Vec<Ran<'a>>, Exit> {
    let runtime = context::runtime()?;
    let progress = Progress::new(global, chosen.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new((0..chosen.len()).map(|_| None).collect::<Vec<_>>());
    let work = || {
        while let Some((export, example)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            let begun = Instant::now();
            let failures = stage.rehearse(export, example, runtime.handle());
            progress.step(&export.name.value);
            let place = chosen.iter().position(|(e, x)| std::ptr::eq(*e, export) && std::ptr::eq(*x, example));
            let ran = failures.map(|failures| Ran {
                export: &export.name.value,
                example,
                failures,
                ms: begun.elapsed().as_secs_f64() * 1e3,
            });
            if let Some(place) = place {
                results.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(ran);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    progress.finish();
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let all: Result<Vec<Ran<'_>>, String> = results.into_iter().flatten().collect();
    all.map_err(|reason| context::fail(Exit::Unavailable, reason))
}

fn text(ran: &[Ran<'_>], untested: &[&str], sources: &Sources, global: &Global, color: bool, begun: Instant) -> String {
    let failures = || ran.iter().flat_map(|r| &r.failures).map(|f| f.found.clone()).collect::<Vec<_>>();
    match global.format {
        Format::Json => format!("{:#}\n", json!(ran.iter().map(|r| object(r, sources)).collect::<Vec<_>>())),
        Format::Jsonl => ran.iter().map(|r| format!("{}\n", object(r, sources))).collect(),
        Format::Github => render::github(&failures(), sources),
        Format::Sarif => format!("{:#}\n", render::sarif(&failures(), sources)),
        Format::Human | Format::Table | Format::Csv => {
            let lines: String = ran
                .iter()
                .filter(|r| !(global.quiet && r.failures.is_empty()))
                .map(|r| human(r, ran, sources, color))
                .collect();
            if global.quiet && lines.is_empty() { lines } else { lines + &summary(ran, untested, begun) }
        }
    }
}

fn object(ran: &Ran<'_>, sources: &Sources) -> serde_json::Value {
    json!({
        "export": ran.export,
        "name": ran.example.name.value,
        "passed": ran.failures.is_empty(),
        "place": render::span_place(ran.example.name.span, sources),
        "ms": (ran.ms * 10.0).round() / 10.0,
        "failures": ran.failures.iter().map(|f| json!({
            "message": f.found.message,
            "place": render::place(&f.found, sources),
            "details": f.details,
        })).collect::<Vec<_>>(),
    })
}

fn human(ran: &Ran<'_>, all: &[Ran<'_>], sources: &Sources, color: bool) -> String {
    let paint = |code: &'static str| if color { code } else { "" };
    let width = all.iter().map(|r| r.export.chars().count()).max().unwrap_or(0);
    let (mark, code) = if ran.failures.is_empty() { ("✓", "\x1b[32m") } else { ("✗", "\x1b[31m") };
    let reset = paint("\x1b[0m");
    let mut text = format!(
        "{}{mark}{reset} {:width$}  {}  {}{}{reset}\n",
        paint(code),
        ran.export,
        ran.example.name.value,
        paint("\x1b[2m"),
        ms(ran.ms)
    );
    for failure in &ran.failures {
        let _ = writeln!(text, "    {}\n      --> {}", failure.found.message, render::place(&failure.found, sources));
        for line in failure.details.lines() {
            let code = match line.as_bytes().first() {
                Some(b'+') => paint("\x1b[32m"),
                Some(b'-') => paint("\x1b[31m"),
                _ => "",
            };
            let _ = writeln!(text, "    {code}{line}{}", if code.is_empty() { "" } else { reset });
        }
    }
    text
}

/// `12 passed, 1 failed · 2 exports have no tests: a, b · 310 ms`
fn summary(ran: &[Ran<'_>], untested: &[&str], begun: Instant) -> String {
    let failed = ran.iter().filter(|r| !r.failures.is_empty()).count();
    let mut text = format!("{} passed", ran.len() - failed);
    if failed > 0 {
        let _ = write!(text, ", {failed} failed");
    }
    if !untested.is_empty() {
        let have = if untested.len() == 1 { "export has" } else { "exports have" };
        let _ = write!(text, " · {} {have} no tests: {}", untested.len(), untested.join(", "));
    }
    let _ = writeln!(text, " · {}", ms(begun.elapsed().as_secs_f64() * 1e3));
    text
}
